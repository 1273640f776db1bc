/** The page in a browser of its own: fetches from the server that served it, and keeps the view in the address. */

import { mount } from "./view.js";

/** Fetch; no answer at all means that the viewer has ended. @param {string} path @param {RequestInit} options */
async function asked(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Error("The viewer does not answer: it was closed, or the connection is lost. Start lamella view again.");
  }
}

/** @type {import("./state.js").Source} */
const http = {
  async get(path, signal) {
    const answer = await asked(path, { signal });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.arrayBuffer();
  },
  async post(path, value) {
    const answer = await asked(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  },
};

mount(document.body, http, { address: true });
