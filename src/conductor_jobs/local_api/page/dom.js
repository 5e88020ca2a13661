// Elements and their text. Nothing here parses HTML: names and errors of runners may be any text.

const SVG = "http://www.w3.org/2000/svg";

/** Return the element of an id. */
export const by = (id) => document.getElementById(id);

/** Return a new HTML element with attributes and children, which are elements or text. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Return a new SVG element with attributes and children. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children);
  return element;
}

/** Set an attribute, or remove it if the value is null or false; touches nothing that is so already. */
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else {
    const wanted = value === true ? "" : String(value);
    if (element.getAttribute(name) !== wanted) element.setAttribute(name, wanted);
  }
}

/** Set an element's text; touches nothing that is so already, so that a selection and a screen reader are left alone. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replace an element's children unless they say the same already. */
export function put(element, key, make) {
  if (element.shown === key) return;
  element.shown = key;
  element.replaceChildren(...make());
}

/** Return the shape of an outcome, for those who do not tell its colour; the text stands beside it. */
export function shape(kind) {
  return svg("svg", { class: `shape ${kind}`, "aria-hidden": "true", focusable: "false" },
    svg("use", { href: `#shape-${kind}` }));
}
