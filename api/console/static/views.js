// What is shown. Text gets into the page by textContent only: names and labels are other people's.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = String(text);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

export function table(titles, rows, empty) {
  if (!rows.length) return element("p", empty);
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const title of titles) head.append(element("th", title, { scope: "col" }));
  const body = made.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    for (const cell of cells) {
      const place = row.insertCell();
      if (cell instanceof Node) place.append(cell); else place.textContent = cell === undefined || cell === null ? "" : String(cell);
    }
  }
  return made;
}

export function picture(clusters, links) {
  const size = 360, radius = clusters.length > 1 ? 130 : 0, middle = size / 2;
  const made = shape("svg", { viewBox: `0 0 ${size} ${size}`, width: size, height: size, role: "img" });
  made.append(shape("title", {}, `${clusters.length} clusters, ${links.length} links`));
  const at = new Map(clusters.map((name, n) => {
    const angle = (2 * Math.PI * n) / clusters.length + Math.PI;
    return [name, [middle + radius * Math.cos(angle), middle + radius * Math.sin(angle)]];
  }));
  for (const link of links) {
    const [one, other] = (link.spec.clusters || []).map((name) => at.get(name));
    if (!one || !other) continue;
    const line = shape("line", { class: "link", x1: one[0], y1: one[1], x2: other[0], y2: other[1] });
    line.append(shape("title", {}, `${link.metadata.name}: ${link.spec.mode || "wireguard"}`));
    made.append(line);
  }
  for (const [name, [x, y]] of at) {
    made.append(shape("circle", { class: "node", cx: x, cy: y, r: 8 }), shape("text", { x, y: y - 14, "text-anchor": "middle" }, name));
  }
  return made;
}

export function verdict(enforced, behind) {
  const total = enforced.length + behind.length;
  if (!total) return element("span", "no node has joined", { class: "wait" });
  if (!behind.length) return element("span", `✓ on all ${total} nodes`, { class: "good" });
  const said = behind.map((b) => `${b.node}: ${b.why}`).join("; ");
  return element("span", `… on ${enforced.length} of ${total}; behind: ${said}`, { class: "wait" });
}

export function labels(object) {
  return Object.entries((object.metadata && object.metadata.labels) || {}).map(([k, v]) => `${k}=${v}`).sort().join(", ");
}

export function lines(value, indent = "") {
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    return "\n" + value.map((v) => `${indent}- ${lines(v, indent + "  ").trimStart()}`).join("\n");
  }
  if (value && typeof value === "object") {
    const entries = Object.entries(value);
    if (!entries.length) return "{}";
    return "\n" + entries.map(([k, v]) => `${indent}${k}: ${lines(v, indent + "  ")}`).join("\n");
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
