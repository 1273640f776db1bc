/** The page in a browser of its own: fetches from the server that served it, and keeps the view in the address. */

import { mount } from "./view.js";

/** @type {import("./state.js").Source} */
const http = {
  async get(path, signal) {
    const answer = await fetch(path, { signal });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.arrayBuffer();
  },
  async post(path, value) {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  },
};

mount(document.body, http, { address: true });
