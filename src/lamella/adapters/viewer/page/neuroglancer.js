/** Open neuroglancer with the generated state, in which `{base}` is the address of this page. */

async function start() {
  const answer = await fetch("state.json");
  const text = await answer.text();
  if (answer.ok) {
    const state = text.replaceAll("{base}", new URL(".", location.href).href);
    location.replace(`v/0/index.html#!${encodeURIComponent(state)}`);
  } else {
    document.body.textContent = text;
  }
}

start();
