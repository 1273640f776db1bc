/** The controls at the side: channels with colour and contrast, sliders of Z and T, labels, buttons. */

/** @param {string} tag @param {Record<string, any>} [properties] @param {(Node | string)[]} children */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** @param {string} id */
export const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** Build the controls; the function that is returned brings them up to date with the state.
 * @param {import("./state.js").State} state @param {Record<string, (argument?: any) => void>} act */
export function buildPanel(state, act) {
  const { scene } = state;
  byId("title").textContent = scene.name;
  const size = `${Math.round(scene.width)} × ${Math.round(scene.height)} px`;
  const wells = new Set(scene.fields.map((field) => field[1])).size;
  byId("subtitle").textContent =
    scene.fields.length > 1 ? `${wells} ${wells === 1 ? "well" : "wells"}, ${scene.fields.length} fields` : size;
  document.title = `${scene.name}, lamella`;
  const refresh = [channels(state, act), ...dimensions(state), labels(state)];
  for (const name of ["fit", "python", "png", "theme", "help"]) byId(name).addEventListener("click", () => act[name]());
  finder(state, act);
  return () => {
    for (const update of refresh) update();
  };
}

/** @param {import("./state.js").State} state @param {Record<string, (argument?: any) => void>} act */
function channels(state, act) {
  const rows = state.channels.map((channel, index) => {
    const id = `channel${index}`;
    const name = channel.name || "Intensity";
    const on = element("input", { type: "checkbox", id });
    const color = element("input", { type: "color", ariaLabel: `Colour of ${name}` });
    const [low, high] = ["Black", "White"].map((end) => element("input", { type: "number", step: "any", ariaLabel: `${end} of ${name}` }));
    const [lowSlider, highSlider] = ["Black", "White"].map((end) => element("input", { type: "range", step: "any", ariaLabel: `${end} of ${name}, slider` }));
    const auto = element("button", { textContent: "Auto", title: "Contrast from the screen (A)" });
    on.addEventListener("change", () => {
      channel.active = /** @type {HTMLInputElement} */ (on).checked;
      state.changed();
    });
    color.addEventListener("input", () => {
      channel.color = /** @type {HTMLInputElement} */ (color).value.slice(1);
      state.changed();
    });
    [[low, lowSlider], [high, highSlider]].forEach((inputs, end) => {
      for (const input of inputs) {
        input.addEventListener(input === inputs[0] ? "change" : "input", () => {
          const value = Number(/** @type {HTMLInputElement} */ (input).value);
          if (!Number.isFinite(value)) return;
          channel.window[end] = value;
          if (channel.window[0] > channel.window[1]) channel.window[1 - end] = value;
          state.changed();
        });
      }
    }); // prettier-ignore
    auto.addEventListener("click", () => act.contrast(index));
    byId("channels").append(
      element("div", { className: "channel" },
        element("div", { className: "line" }, on, element("label", { htmlFor: id, textContent: name, title: name }), color, auto),
        element("div", { className: "line" }, lowSlider, low),
        element("div", { className: "line" }, highSlider, high)),
    ); // prettier-ignore
    return { on, color, low, high, lowSlider, highSlider, spread: sliderSpread(state, channel) };
  });
  return () => {
    rows.forEach((row, index) => {
      const channel = state.channels[index];
      const set = (/** @type {HTMLElement} */ input, /** @type {any} */ value) => {
        if (input !== document.activeElement || input.getAttribute("type") !== "number") /** @type {any} */ (input).value = value;
      };
      /** @type {any} */ (row.on).checked = channel.active;
      set(row.color, `#${channel.color.toLowerCase()}`);
      row.spread = [Math.min(row.spread[0], channel.window[0]), Math.max(row.spread[1], channel.window[1])];
      for (const slider of [row.lowSlider, row.highSlider]) [/** @type {any} */ (slider).min, /** @type {any} */ (slider).max] = row.spread;
      const show = (/** @type {number} */ value) => Number(value.toPrecision(6));
      for (const [input, end] of /** @type {[HTMLElement, number][]} */ ([[row.low, 0], [row.high, 1]])) set(input, show(channel.window[end])); // prettier-ignore
      set(row.lowSlider, channel.window[0]);
      set(row.highSlider, channel.window[1]);
    });
  };
}

/** Return the range of a slider: twice the window, within what the pixels can be.
 * @param {import("./state.js").State} state @param {import("./state.js").Channel} channel @returns {[number, number]} */
function sliderSpread(state, channel) {
  const [low, high] = channel.window;
  const [least, most] = state.scene.dtype === "float32" ? [low - (high - low), Number.POSITIVE_INFINITY] : state.scene.limits;
  return [Math.max(least, Math.min(0, low)), Math.min(most, high + (high - low) || high + 1)];
}

/** @param {import("./state.js").State} state */
function dimensions(state) {
  const { scene } = state;
  const updates = [];
  const section = byId("dimensions");
  section.hidden = scene.times < 2 && scene.depth < 2;
  if (scene.depth > 1) {
    const slider = /** @type {any} */ (element("input", { type: "range", id: "z", min: 0, max: scene.depth - 1, step: 1 }));
    const all = /** @type {any} */ (element("input", { type: "checkbox", id: "max" }));
    const shown = element("output");
    slider.addEventListener("input", () => {
      state.z = Number(slider.value);
      state.changed();
    });
    all.addEventListener("change", () => {
      state.z = all.checked ? "max" : Number(slider.value);
      state.changed();
    });
    section.append(
      element("div", { className: "line" }, element("label", { htmlFor: "z", textContent: "Z" }), shown),
      slider,
      element("div", { className: "line" }, all, element("label", { htmlFor: "max", textContent: "Maximum over Z" })),
    );
    updates.push(() => {
      all.checked = state.z === "max";
      if (state.z !== "max") slider.value = state.z;
      slider.disabled = all.checked;
      shown.textContent = state.z === "max" ? "maximum" : `${state.z} of 0–${scene.depth - 1}`;
    });
  }
  if (scene.times > 1) {
    const slider = /** @type {any} */ (element("input", { type: "range", id: "t", min: 0, max: scene.times - 1, step: 1 }));
    const shown = element("output");
    slider.addEventListener("input", () => {
      state.t = Number(slider.value);
      state.changed();
    });
    section.append(element("div", { className: "line" }, element("label", { htmlFor: "t", textContent: "Time" }), shown), slider);
    updates.push(() => {
      slider.value = state.t;
      shown.textContent = `${state.t} of 0–${scene.times - 1}`;
    });
  }
  return updates;
}

/** @param {import("./state.js").State} state */
function labels(state) {
  const names = state.scene.labels;
  byId("labels").hidden = !names.length;
  const choice = byId("label");
  const opacity = byId("opacity");
  choice.append(...[["", "none"], ...names.map((name) => [name, name])].map(([value, text]) => element("option", { value, textContent: text })));
  choice.addEventListener("change", () => {
    state.label = choice.value;
    state.changed();
  });
  opacity.addEventListener("input", () => {
    state.opacity = Number(opacity.value);
    state.changed();
  });
  return () => {
    choice.value = state.label;
    opacity.value = state.opacity;
  };
}

/** The search for a well by its name, and the overview. @param {import("./state.js").State} state
 * @param {Record<string, (argument?: any) => void>} act */
function finder(state, act) {
  const { wells } = state.scene;
  byId("finder").hidden = wells.length < 2;
  const map = byId("map");
  const scale = Math.min(map.width / state.scene.width, map.height / state.scene.height);
  map.height = Math.max(24, Math.ceil(state.scene.height * scale));
  byId("wells").append(...wells.map(([path]) => element("option", { value: path })));
  const input = byId("well");
  input.addEventListener("change", () => {
    const typed = input.value.trim().toLowerCase();
    const plain = (/** @type {string} */ path) => path.toLowerCase().replace("/", "").replace(/([a-z]+)0*/, "$1");
    const index = wells.findIndex(([path]) => path.toLowerCase() === typed || plain(path) === plain(typed));
    if (index >= 0) act.toWell(index);
    else act.hint(`There is no well ${input.value} in this plate.`);
  });
  byId("map").addEventListener("click", (/** @type {MouseEvent} */ event) => act.map([event.offsetX, event.offsetY]));
}
