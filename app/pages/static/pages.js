// What pages do beyond HTML; without it everything works, with more in the address.
"use strict";

// Forms leave out of the address what says nothing.
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input, select")) {
      // A text that is empty is a value.
      if (field.name && !field.value && !field.name.startsWith("value.")) field.disabled = true;
    }
  });
}
window.addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll(":disabled")) field.disabled = false;
});

// Long tables and lists are narrowed while one types.
for (const input of document.querySelectorAll("input[data-filter]")) {
  input.addEventListener("input", () => {
    const part = input.value.trim().toLowerCase();
    for (const each of document.querySelectorAll(`#${input.dataset.filter} :is(tbody > tr, .flow > li)`)) {
      const name = each.querySelector("th") ?? each;
      each.hidden = !name.textContent.toLowerCase().includes(part);
    }
  });
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
  });
}

// "/" goes to the search, as in many tools.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  document.getElementById("search").focus();
});
