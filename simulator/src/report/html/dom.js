// Elements. Text from the cluster becomes text nodes and attribute values, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);
const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
const button = (text, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, text);

// A list that shows its first entries, and the rest on request.
function longList(items, most, render, attributes = {}) {
  const list = h("ul", attributes, items.slice(0, most).map((item) => h("li", {}, render(item))));
  if (items.length > most) {
    const more = h("li", {}, button(`${items.length - most} more…`, () => {
      more.replaceWith(...items.slice(most).map((item) => h("li", {}, render(item))));
    }, { class: "link quiet" }));
    list.append(more);
  }
  return list;
}
