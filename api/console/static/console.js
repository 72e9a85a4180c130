// The console: sign in, choose a view, follow what changes.

import { all, ask, token, watch } from "./client.js";
import { element, labels, lines, picture, table, verdict } from "./views.js";

const $ = (id) => document.getElementById(id);
let stop = new AbortController();
let kinds = [];

function say(problem) {
  $("problem").hidden = !problem;
  $("problem").textContent = problem ? problem.message : "";
}

function live(text) {
  $("live").textContent = text;
}

function show(...parts) {
  $("content").replaceChildren(...parts);
}

function signedOut(problem) {
  stop.abort();
  token.clear();
  $("nav").hidden = $("out").hidden = true;
  $("in").hidden = false;
  live("");
  show();
  say(problem);
  $("token").focus();
}

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401 || error.status === 403) signedOut(error); else say(error);
  }
}

// Follows several kinds at once; once each has told what stands, shows what draw makes of it. A drawing that was overtaken is not shown.
function follow(plurals, draw) {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  const known = new Map();
  let turn = 0;
  async function redraw() {
    const mine = ++turn;
    const parts = await draw(Object.fromEntries(plurals.map((p) => [p, [...known.get(p).values()]])));
    if (mine === turn && !signal.aborted) show(...parts);
  }
  for (const plural of plurals) {
    guarded(() => watch(plural, (objects, isLive, problem) => {
      if (signal.aborted) return;
      say(problem);
      live(isLive ? "● live" : "○ not connected, trying again");
      if (!objects) return;
      known.set(plural, objects);
      if (known.size === plurals.length) guarded(redraw);
    }, signal));
  }
}

const path = (object) => [object.metadata.cluster, object.metadata.namespace, object.metadata.name].filter(Boolean).join("/");

async function rollout(revision) {
  const found = await ask(`/api/v1/rollouts/${revision}`);
  return verdict(found.enforced, found.behind);
}

function overview() {
  follow(["clusters", "nodes", "links"], async (known) => {
    const newest = Math.max(0, ...Object.values(known).flat().map((o) => o.metadata.revision || 0));
    const state = newest ? await rollout(newest) : element("span", "nothing yet", { class: "wait" });
    const line = element("p", `Revision ${newest}: `);
    line.append(state);
    return [
      element("h2", "Overview"), line,
      picture(known.clusters.map((c) => c.metadata.name), known.links),
      element("h3", "Clusters"),
      table(["Name", "Prefixes", "Labels"], known.clusters.map((c) => [c.metadata.name, (c.spec.prefixes || []).join(", "), labels(c)]),
        "No cluster yet. Apply one: causeway apply -f examples/two-clusters.yaml"),
      element("h3", "Nodes"),
      table(["Node", "Addresses", "Prefixes", "Key told"], known.nodes.map((n) => [path(n), (n.spec.addresses || []).join(", "),
        (n.spec.podPrefixes || []).join(", "), n.spec.wireguard ? "✓ yes" : "… not yet"]),
      "No node has joined. Make a token: causeway token create --cluster NAME"),
      element("h3", "Links"),
      table(["Link", "Clusters", "Mode"], known.links.map((l) => [l.metadata.name, l.spec.clusters.join(" – "), l.spec.mode || "wireguard"]),
        "No clusters are linked. Link two: causeway link create ONE OTHER"),
    ];
  });
}

function policies() {
  follow(["tiers", "globalnetworkpolicies", "networkpolicies"], async (known) => {
    const order = new Map(known.tiers.map((t) => [t.metadata.name, t.spec.order ?? (t.metadata.name === "default" ? 1e6 : Infinity)]));
    if (!order.has("default")) order.set("default", 1e6);
    const rank = (p) => [order.get(p.spec.tier || "default") ?? Infinity, p.spec.order ?? Infinity, p.metadata.name];
    const sorted = [...known.globalnetworkpolicies, ...known.networkpolicies].sort((a, b) => {
      const [x, y] = [rank(a), rank(b)];
      return x[0] - y[0] || x[1] - y[1] || (x[2] < y[2] ? -1 : 1);
    });
    const rows = [];
    for (const p of sorted) {
      rows.push([p.spec.tier || "default", p.kind, path(p), p.spec.selector || "all()",
        `${(p.spec.ingress || []).length} in, ${(p.spec.egress || []).length} out`, await rollout(p.metadata.revision)]);
    }
    return [element("h2", "Policies, in the order of evaluation"),
      table(["Tier", "Kind", "Name", "Selector", "Rules", "Enforced"], rows, "No policy yet. Try one: causeway apply -f examples/pci-isolation.yaml --wait")];
  });
}

function resources(kind) {
  follow([kind.plural], (known) => {
    const filter = element("input", null, { id: "filter", type: "search", "aria-label": "Filter by name or label" });
    const place = element("div");
    const draw = () => {
      const wanted = filter.value.toLowerCase();
      const rows = known[kind.plural].filter((o) => `${path(o)} ${labels(o)}`.toLowerCase().includes(wanted)).map((o) => {
        const open = element("button", path(o), { type: "button" });
        open.addEventListener("click", () => detail(kind, o));
        return [open, labels(o), o.metadata.revision];
      });
      place.replaceChildren(table(["Name", "Labels", "Revision"], rows, wanted ? "Nothing matches." : `No ${kind.plural}.`));
    };
    const before = $("filter");
    if (before) filter.value = before.value;
    filter.addEventListener("input", draw);
    draw();
    if (before && document.activeElement === before) queueMicrotask(() => filter.focus());
    return [element("h2", kind.name), filter, place];
  });
}

function detail(kind, object) {
  stop.abort();
  live("");
  const back = element("button", `Back to ${kind.plural}`, { type: "button" });
  back.addEventListener("click", () => resources(kind));
  show(element("h2", `${kind.name} ${path(object)}`), back, element("pre", lines(object).trimStart(), { tabindex: "0" }));
  back.focus();
}

function navigate(views) {
  const buttons = views.map(([title, open]) => {
    const button = element("button", title, { type: "button" });
    button.addEventListener("click", () => {
      for (const each of buttons) each.removeAttribute("aria-current");
      button.setAttribute("aria-current", "page");
      say();
      open();
    });
    return button;
  });
  $("nav").replaceChildren(...buttons);
  $("nav").hidden = $("out").hidden = false;
  $("in").hidden = true;
  buttons[0].click();
}

async function signedIn() {
  kinds = (await ask("/api/v1/kinds")).items;
  await all("clusters");
  say();
  navigate([["Overview", overview], ["Policies", policies], ...kinds.map((kind) => [kind.name, () => resources(kind)])]);
}

$("in").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set($("token").value.trim());
  $("token").value = "";
  guarded(signedIn);
});
$("out").addEventListener("click", () => signedOut());
if (token.get()) guarded(signedIn); else signedOut();
