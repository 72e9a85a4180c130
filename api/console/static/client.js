// The way to the REST API: the token lives in this tab only, a refusal is a Problem, a watch goes on after a cut.

export class Problem extends Error {
  constructor(status, body) {
    const faults = (body.errors || []).map((e) => `\n  ${e.pointer || "/"}: ${e.detail}`).join("");
    super(`${body.title || status}: ${body.detail || ""}${faults}${body.hint ? `\nWhat to do: ${body.hint}` : ""}`);
    this.status = status;
  }
}

const KEY = "causeway-token";
export const token = {
  get: () => sessionStorage.getItem(KEY) || "",
  set: (text) => sessionStorage.setItem(KEY, text),
  clear: () => sessionStorage.removeItem(KEY),
};

async function open(path, signal) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Authorization: `Bearer ${token.get()}` }, signal });
  } catch (error) {
    if (signal && signal.aborted) throw error;
    throw new Problem(0, { title: "unreachable", detail: "the control plane does not answer", hint: "nodes go on enforcing; this page tries again" });
  }
  if (!answer.ok) {
    let body = {};
    try { body = await answer.json(); } catch { body = { detail: answer.statusText }; }
    throw new Problem(answer.status, body);
  }
  return answer;
}

export async function ask(path) {
  return (await open(path)).json();
}

export async function all(plural) {
  const items = [];
  let after = "";
  do {
    const page = await ask(`/api/v1/${plural}?limit=1000${after ? `&continue=${encodeURIComponent(after)}` : ""}`);
    items.push(...page.items);
    after = (page.metadata && page.metadata.continue) || "";
  } while (after);
  return items;
}

// Calls onChange(objects by key, is live) after every batch of events, until the signal aborts; a cut begins again from what stands.
export async function watch(plural, onChange, signal) {
  let wait = 500;
  while (!signal.aborted) {
    const objects = new Map();
    let complete = false;
    try {
      const answer = await open(`/api/v1/${plural}?watch=true`, signal);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        wait = 500;
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines.filter(Boolean)) {
          const event = JSON.parse(line);
          if (event.type === "BOOKMARK") { complete = true; continue; }
          const m = event.object.metadata;
          const key = [m.cluster, m.namespace, m.name].filter(Boolean).join("/");
          if (event.type === "DELETED") objects.delete(key); else objects.set(key, event.object);
        }
        if (complete) onChange(objects, true);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401 || error.status === 403) throw error;
      onChange(null, false, error);
    }
    await new Promise((wake) => { setTimeout(wake, wait * (0.5 + Math.random() / 2)); });
    wait = Math.min(wait * 2, 15000);
  }
}
