// Conveniences; without this script everything works, but addresses are longer.
"use strict";

// Leave empty fields out of the address.
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input, select")) {
      // An empty text is a valid value of a variable.
      if (field.name && !field.value && !field.name.startsWith("value.")) field.disabled = true;
    }
  });
}
window.addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll(":disabled")) field.disabled = false;
});

// Filter long tables and lists while typing.
for (const input of document.querySelectorAll("input[data-filter]")) {
  input.addEventListener("input", () => {
    const part = input.value.trim().toLowerCase();
    for (const row of document.querySelectorAll(`#${input.dataset.filter} :is(tbody > tr, .flow > li)`)) {
      const name = row.querySelector("th") ?? row;
      row.hidden = !name.textContent.toLowerCase().includes(part);
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

// "/" focuses the search.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  document.getElementById("search").focus();
});
