/** The elements of the viewer, and functions that find and make elements. */

const MARKUP = `
<main id="stage" tabindex="0" aria-label="Picture. Arrow keys move, plus and minus zoom, question mark lists all keys.">
  <canvas id="pixels"></canvas>
  <canvas id="lines"></canvas>
  <canvas id="xz" class="slice" aria-label="Slice along X and Z" hidden></canvas>
  <canvas id="yz" class="slice" aria-label="Slice along Y and Z" hidden></canvas>
  <canvas id="solid" aria-label="Channels and labels in 3-D. Drag to turn, wheel to zoom." hidden></canvas>
  <div id="hint" role="status"></div>
  <div id="cursor"></div>
  <div id="legend" hidden><span></span><canvas width="160" height="8"></canvas><output></output><output></output></div>
</main>
<aside id="panel" aria-label="Controls">
  <header>
    <div>
      <h1 id="title">lamella</h1>
      <p id="subtitle"></p>
    </div>
    <button id="theme" title="Dark or light (D)" aria-label="Dark or light">◐</button>
    <button id="help" title="All keys (?)" aria-label="All keys">?</button>
  </header>
  <section id="finder" hidden>
    <canvas id="map" aria-label="Overview of the plate" title="Click to go to a well"></canvas>
    <div class="line">
      <label for="well">Well</label>
      <input id="well" list="wells" title="Name of a well to go to (/)" autocomplete="off" spellcheck="false">
      <datalist id="wells"></datalist>
    </div>
    <div class="line" id="acquisitions" hidden>
      <label for="acquisition">Acquisition</label>
      <select id="acquisition"></select>
    </div>
  </section>
  <section id="intensities">
    <div class="line heading">
      <h2>Channels</h2>
      <select id="palette" aria-label="Colours of channels" title="Colours of channels">
        <option value="">Own colours</option>
        <option value="stored">Stored colours</option>
        <option value="safe">Colour-blind safe</option>
        <option value="grey">Grey</option>
      </select>
    </div>
    <div id="channels"></div>
    <div class="line" id="sharing">
      <input id="wells-own" type="checkbox" title="A contrast for each well, or one for all (W)">
      <label for="wells-own">Contrast of each well</label>
      <button id="save" title="Write the contrast into the store" hidden>Save</button>
    </div>
  </section>
  <section id="dimensions"></section>
  <section id="labels" hidden>
    <div class="line heading">
      <h2>Labels</h2>
      <select id="label-palette" aria-label="Colours of labels" title="Colours of labels">
        <option value="stored">Stored colours</option>
        <option value="safe">Colour-blind safe</option>
      </select>
    </div>
    <div class="line">
      <select id="label" aria-label="Label image" title="Label image (L: on or off)"></select>
      <input id="opacity" type="range" min="0" max="1" step="0.05" aria-label="Opacity of labels" title="Opacity of labels">
    </div>
  </section>
  <section id="heat" hidden>
    <div class="line">
      <label for="table">Heat map</label>
      <select id="table" aria-label="Table"></select>
      <select id="column" aria-label="Column" hidden></select>
    </div>
  </section>
  <section id="search" hidden>
    <p></p>
    <div class="buttons"><button id="search-all" title="List the labels and tables of all fields">Search all fields</button></div>
  </section>
  <section>
    <div class="buttons">
      <button id="fit" title="Show everything (0)">Fit</button>
      <button id="slices" title="Planes across Z (S)" aria-pressed="false">Slices</button>
      <button id="volume" title="Channels and labels in 3-D (V)" aria-pressed="false">3-D</button>
      <button id="follow" title="Show pixels as they are written (F)" aria-pressed="false">Follow</button>
      <button id="python" title="Copy Python that reads this region (C)">Copy as Python</button>
      <button id="png" title="Save the picture as PNG (P)">PNG</button>
    </div>
  </section>
  <section id="problems" hidden>
    <h2>Problems</h2>
    <ul></ul>
  </section>
</aside>
<dialog id="keys">
  <h2>Keys</h2>
  <table></table>
  <form method="dialog"><button>Close</button></form>
</dialog>
<dialog id="code">
  <h2>Python for this region</h2>
  <textarea readonly aria-label="Python for this region" spellcheck="false"></textarea>
  <form method="dialog"><button>Close</button></form>
</dialog>`;

/** Fill an element with the viewer. @param {HTMLElement} root */
export function build(root) {
  root.classList.add("lamella");
  root.innerHTML = MARKUP;
}

/** Return a function that finds elements of one viewer by their id. @param {HTMLElement} root */
export const finder = (root) => (/** @type {string} */ id) => /** @type {any} */ (root.querySelector(`#${id}`));

/** Make an element. @param {string} tag @param {Record<string, any>} [properties] @param {(Node | string)[]} children @returns {any} */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Replace the options of a choice. @param {HTMLSelectElement} select @param {[string, string][]} choices value and text */
export function setOptions(select, choices) {
  select.replaceChildren(...choices.map(([value, text]) => element("option", { value, textContent: text })));
}
