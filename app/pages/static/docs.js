// Swagger UI for the OpenAPI document, with what assistive technology needs and Swagger UI lacks.
"use strict";

const place = document.getElementById("swagger-ui");

// Swagger UI filters by tag alone. Match every word with the tag, the method, the path or the summary of an operation.
const matching = (operations, phrase) => {
  const words = phrase.toLowerCase().split(/\s+/);
  const matches = (tag) => (operation) => {
    const texts = [tag, operation.get("method"), operation.get("path"), operation.getIn(["operation", "summary"], "")];
    const text = texts.join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  };
  return operations
    .map((group, tag) => group.update("operations", (all) => all.filter(matches(tag))))
    .filter((group) => group.get("operations").size > 0);
};

// A link inside of the button that opens an operation cannot be reached by keyboard. The address changes without it.
const plainLink = (_link, system) => (props) => system.React.createElement("span", null, props.text);

// Show what the address names: Swagger UI takes the `_` of an operation for a blank, and warns.
const showNamed = (_show, system) => (hash) => {
  const [tag, operation] = hash.replace(/^#?!?\/?/, "").split("/").map(decodeURIComponent);
  if (!tag) return;
  const path = operation ? ["operations", tag, operation] : ["operations-tag", tag];
  system.layoutActions.show(["operations-tag", tag], true);
  system.layoutActions.show(path, true);
  system.layoutActions.scrollTo(path);
};

// While operations are filtered, every group that has some is open.
const isShown = (original) => (state, path, otherwise) => {
  // It is `true` until something is typed.
  const phrase = state.get("filter");
  const isFiltered = typeof phrase === "string" && phrase !== "";
  return (isFiltered && path[0] === "operations-tag") || original(path, otherwise);
};

const plugin = () => ({
  fn: { opsFilter: matching },
  wrapComponents: { DeepLink: plainLink },
  statePlugins: {
    layout: { wrapActions: { parseDeepLinkHash: showNamed }, wrapSelectors: { isShown } },
  },
});

const name = (element, text) => {
  if (element.getAttribute("aria-label") !== text) element.setAttribute("aria-label", text);
};

// Return the name of a field: the parameter of its row, otherwise what it is for.
const labelOf = (field) => {
  const parameter = field.closest("tr[data-param-name]");
  if (field.matches(".examples-select-element")) return `Example of ${parameter?.dataset.paramName ?? "a body"}`;
  if (field.matches(".content-type")) return "Media type";
  if (parameter) return parameter.dataset.paramName;
  if (field.closest(".auth-container")) return "Token";
  return "Request body";
};

const mend = () => {
  // The groups of operations are below the title of the page, and the parts of an operation below its group.
  for (const heading of place.querySelectorAll("h3.opblock-tag, .modal-ux-header h3")) heading.ariaLevel = "2";
  for (const heading of place.querySelectorAll(":is(.opblock-body, .modal-ux-content) :is(h4, h5)")) heading.ariaLevel = "3";
  for (const field of place.querySelectorAll("select, textarea, input:not([id])")) {
    if (!field.matches(".operation-filter-input") && !field.closest("label")) name(field, labelOf(field));
  }
  const filter = place.querySelector(".operation-filter-input");
  if (filter) {
    name(filter, "Filter operations");
    filter.placeholder = "Filter operations: releases put";
  }
  for (const button of place.querySelectorAll(".copy-to-clipboard button")) name(button, "Copy");
  for (const button of place.querySelectorAll(".close-modal")) name(button, "Close");
  for (const region of place.querySelectorAll("table[role='region']")) {
    // A landmark for each operation that is open would be too many.
    region.removeAttribute("role");
  }
  // What scrolls can be scrolled by keyboard.
  for (const block of place.querySelectorAll("pre, .parameters-container, .responses-inner")) {
    if (block.scrollWidth > block.clientWidth || block.scrollHeight > block.clientHeight) block.tabIndex = 0;
  }
};

let isWaiting = false;
new MutationObserver(() => {
  if (isWaiting) return;
  isWaiting = true;
  requestAnimationFrame(() => {
    isWaiting = false;
    mend();
  });
}).observe(place, { childList: true, subtree: true });

SwaggerUIBundle({
  domNode: place,
  url: place.dataset.document,
  deepLinking: true,
  docExpansion: "none",
  // The schemas are shown with the operations that have them.
  defaultModelsExpandDepth: -1,
  filter: true,
  // Colours of the parts of an example take an element for each of them.
  syntaxHighlight: { activated: false },
  presets: [SwaggerUIBundle.presets.apis],
  plugins: [plugin],
  // No request to another host.
  validatorUrl: null,
});
