/** The controls at the side. Each function makes a group of controls, and returns a function that shows the state in them. */

import { element, setOptions } from "./layout.js";
import { mapScale } from "./overview.js";
import { channelColors, paletteOf } from "./palettes.js";

/** @typedef {(id: string) => any} Find */
/** @typedef {Record<string, (argument?: any) => any>} Actions */

/** Make all controls, and return a function that shows the state in them.
 * @param {import("./state.js").State} state @param {Actions} act @param {Find} byId */
export function buildPanel(state, act, byId) {
  const { scene } = state;
  const parts = [heading, channelRows, sharing, dimensions, labelControls, plateControls, heatControls, search, buttons];
  const refresh = parts.map((part) => part(state, act, byId));
  byId("intensities").hidden = !scene.channels.length;
  return () => {
    for (const update of refresh) update();
  };
}

/** @param {number} count @param {string} one @param {string} [many] */
const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** @param {import("./state.js").State} state @param {Actions} _act @param {Find} byId */
function heading(state, _act, byId) {
  const { scene } = state;
  return () => {
    byId("title").textContent = scene.name;
    const wells = new Set(scene.fields.map((field) => field[1])).size;
    const many = scene.fields.length > 1;
    const [across, down] = scene.fields[0].slice(7, 9); // the canvas of pixels that are not square has another height
    const size = `${across} × ${down}`;
    const parts =
      many && scene.wells.length > 1
        ? [counted(wells, "well"), counted(scene.fields.length, "field")]
        : many
          ? [counted(scene.fields.length, "image")]
          : [size];
    byId("subtitle").textContent = [...parts, scene.types.join(", ")].join(" · ");
  };
}

/** @param {import("./state.js").State} state @param {Actions} act @param {Find} byId */
function channelRows(state, act, byId) {
  const rows = state.channels.map((channel, index) => {
    const name = channel.name || "Intensity";
    const on = element("input", {
      type: "checkbox",
      id: `channel${index}`,
      title: index < 9 ? `Show or hide (${index + 1})` : "Show or hide",
    });
    const color = element("input", { type: "color", ariaLabel: `Colour of ${name}`, title: `Colour of ${name}` });
    const [low, high] = ["Black", "White"].map((end) => element("input", { type: "number", step: "any", ariaLabel: `${end} of ${name}` }));
    const [lowSlider, highSlider] = ["Black", "White"].map((end) =>
      element("input", { type: "range", step: "any", ariaLabel: `${end} of ${name}, slider` }),
    );
    const auto = element("button", { textContent: "Auto", title: "Contrast from the screen (A)" });
    const dual = element("div", { className: "dual" }, lowSlider, highSlider);
    on.addEventListener("change", () => {
      channel.active = on.checked;
      state.changed();
    });
    color.addEventListener("input", () => {
      channel.color = color.value.slice(1);
      state.changed();
    });
    [
      [low, lowSlider],
      [high, highSlider],
    ].forEach((inputs, end) => {
      inputs.forEach((input, slider) => {
        input.addEventListener(slider ? "input" : "change", () => {
          const value = Number(input.value);
          if (!Number.isFinite(value) || input.value === "") return;
          channel.window[end] = value;
          if (channel.window[0] > channel.window[1]) channel.window[1 - end] = value;
          state.changed();
        });
      });
    });
    auto.addEventListener("click", () => act.contrast(index));
    byId("channels").append(
      element(
        "div",
        { className: "channel" },
        element("div", { className: "line" }, on, color, element("label", { htmlFor: on.id, textContent: name, title: name }), auto),
        element("div", { className: "line" }, low, dual, high),
      ),
    );
    return { on, color, low, high, lowSlider, highSlider, dual, spread: sliderSpread(state, channel) };
  });
  const palette = byId("palette");
  palette.addEventListener("change", () => {
    channelColors(palette.value, state.scene.channels).forEach((color, index) => {
      state.channels[index].color = color;
    });
    state.changed();
  });
  palette.options[0].hidden = true;
  return () => {
    palette.value = paletteOf(state.channels, state.scene.channels);
    for (const [index, row] of rows.entries()) showChannel(row, state.channels[index], state.wellWindows !== null);
  };
}

/** Write a number with as many digits as fit into seven characters. @param {number} value */
export function fitting(value) {
  for (let digits = 7; digits > 1; digits--) {
    const texts = [String(Number(value.toPrecision(digits))), value.toExponential(digits - 1)];
    const short = texts.map((text) => text.replace("e+", "e")).find((text) => text.length < 8);
    if (short) return short;
  }
  return value.toExponential(0).replace("e+", "e");
}

/** Show a channel in its row of controls. @param {any} row @param {import("./state.js").Channel} channel
 * @param {boolean} own whether each well has its own contrast, so that the contrast of the channel has no effect */
function showChannel(row, channel, own) {
  const set = (/** @type {HTMLInputElement} */ input, /** @type {string | number} */ value) => {
    if (!input.matches(":focus") || input.type !== "number") input.value = String(value);
  };
  row.on.checked = channel.active;
  set(row.color, `#${channel.color.toLowerCase()}`);
  row.spread = [Math.min(row.spread[0], channel.window[0]), Math.max(row.spread[1], channel.window[1])];
  const [least, most] = row.spread;
  for (const slider of [row.lowSlider, row.highSlider]) [slider.min, slider.max] = row.spread;
  set(row.low, fitting(channel.window[0]));
  set(row.high, fitting(channel.window[1]));
  [row.low.title, row.high.title] = channel.window.map(String);
  set(row.lowSlider, channel.window[0]);
  set(row.highSlider, channel.window[1]);
  const part = (/** @type {number} */ value) => `${(100 * (value - least)) / (most - least || 1)}%`;
  row.dual.style.setProperty("--low", part(channel.window[0]));
  row.dual.style.setProperty("--high", part(channel.window[1]));
  row.dual.style.setProperty("--color", `#${channel.color}`);
  for (const input of [row.low, row.high, row.lowSlider, row.highSlider]) input.disabled = own;
}

/** Return the range of a slider: from 0 to the window's end plus its length, within the range of the data type.
 * @param {import("./state.js").State} state @param {import("./state.js").Channel} channel @returns {[number, number]} */
function sliderSpread(state, channel) {
  const [low, high] = channel.window;
  const [least, most] = state.scene.dtype === "float32" ? [low - (high - low), Number.POSITIVE_INFINITY] : state.scene.limits;
  return [Math.max(least, Math.min(0, low)), Math.min(most, high + (high - low) || high + 1)];
}

/** @param {import("./state.js").State} state @param {Actions} act @param {Find} byId */
function sharing(state, act, byId) {
  const own = byId("wells-own");
  const save = byId("save");
  own.addEventListener("change", () => act.ownContrast());
  save.addEventListener("click", () => act.save());
  return () => {
    const wells = state.scene.wells.length > 1;
    own.hidden = own.nextElementSibling.hidden = !wells;
    save.hidden = !state.scene.editable;
    save.disabled = state.wellWindows !== null;
    byId("sharing").hidden = !wells && save.hidden;
    own.checked = state.wellWindows !== null;
  };
}

/** @param {import("./state.js").State} state @param {Actions} _act @param {Find} byId */
function dimensions(state, _act, byId) {
  const { scene } = state;
  const section = byId("dimensions");
  const row = (
    /** @type {string} */ id,
    /** @type {string} */ name,
    /** @type {string} */ keys,
    /** @type {(value: number) => void} */ change,
  ) => {
    const slider = element("input", { type: "range", id, min: 0, step: 1, title: keys });
    const shown = element("output");
    const line = element(
      "div",
      {},
      element("div", { className: "line" }, element("label", { htmlFor: id, textContent: name }), shown),
      slider,
    );
    slider.addEventListener("input", () => {
      change(Number(slider.value));
      state.changed();
    });
    section.append(line);
    return { slider, shown, line };
  };
  const z = row("z", "Z", "Plane ([ and ])", (value) => (state.z = value));
  const all = element("input", { type: "checkbox", id: "max", title: "Maximum over Z, or one plane (M)" });
  all.addEventListener("change", () => {
    state.z = all.checked ? "max" : Number(z.slider.value);
    state.changed();
  });
  const most = element("div", { className: "line" }, all, element("label", { htmlFor: "max", textContent: "Maximum over Z" }));
  section.append(most);
  const t = row("t", "Time", "Time (page up, page down; space plays)", (value) => (state.t = value));
  return () => {
    section.hidden = scene.times < 2 && scene.depth < 2;
    z.line.hidden = most.hidden = scene.depth < 2;
    t.line.hidden = scene.times < 2;
    z.slider.max = scene.depth - 1;
    t.slider.max = scene.times - 1;
    all.checked = state.z === "max";
    if (state.z !== "max") z.slider.value = state.z;
    z.slider.disabled = all.checked;
    z.shown.textContent = state.z === "max" ? "maximum" : `${state.z} / ${scene.depth - 1}`;
    t.slider.value = state.t;
    t.shown.textContent = `${state.t} / ${scene.times - 1}`;
  };
}

/** @param {import("./state.js").State} state @param {Actions} _act @param {Find} byId */
function labelControls(state, _act, byId) {
  const choice = byId("label");
  const opacity = byId("opacity");
  const palette = byId("label-palette");
  choice.addEventListener("change", () => {
    state.label = choice.value;
    state.changed();
  });
  opacity.addEventListener("input", () => {
    state.opacity = Number(opacity.value);
    state.changed();
  });
  palette.addEventListener("change", () => {
    state.labelPalette = palette.value;
    state.changed();
  });
  let listed = "";
  return () => {
    const names = state.scene.labels;
    byId("labels").hidden = !names.length;
    if (listed !== names.join("/"))
      setOptions(choice, [["", "none"], ...names.map((name) => /** @type {[string, string]} */ ([name, name]))]);
    listed = names.join("/");
    choice.value = state.label;
    opacity.value = state.opacity;
    palette.value = state.labelPalette;
  };
}

/** The search for a well by its name, the overview, and acquisitions.
 * @param {import("./state.js").State} state @param {Actions} act @param {Find} byId */
function plateControls(state, act, byId) {
  const { scene } = state;
  const map = byId("map");
  const input = byId("well");
  const acquisition = byId("acquisition");
  map.width = 232;
  map.height = Math.max(24, Math.min(170, Math.ceil(scene.height * (232 / scene.width))));
  input.addEventListener("change", () => act.findWell(input.value));
  map.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    const scale = mapScale(map, scene) * (map.clientWidth / map.width);
    act.lookAt({ x: event.offsetX / scale, y: event.offsetY / scale });
  });
  acquisition.addEventListener("change", () => {
    state.acquisition = Number(acquisition.value);
    state.changed();
  });
  let listed = -1;
  return () => {
    const wells = scene.wells.length > 1;
    map.hidden = input.parentElement.hidden = !wells;
    byId("acquisitions").hidden = scene.acquisitions.length < 2;
    byId("finder").hidden = !wells && scene.acquisitions.length < 2;
    if (listed !== scene.wells.length) {
      input.placeholder = scene.wells[0]?.[0] ?? "";
      byId("wells").replaceChildren(...scene.wells.map(([path]) => element("option", { value: path })));
      setOptions(
        acquisition,
        scene.acquisitions.map((name, index) => [String(index), name]),
      );
      listed = scene.wells.length;
    }
    acquisition.value = String(state.acquisition);
  };
}

/** @param {import("./state.js").State} state @param {Actions} act @param {Find} byId */
function heatControls(state, act, byId) {
  const table = byId("table");
  const column = byId("column");
  table.addEventListener("change", () => act.heatTable(table.value));
  column.addEventListener("change", () => act.heat({ table: table.value, column: column.value }));
  return () => {
    const legend = byId("legend");
    legend.hidden = !state.heat;
    if (!state.heat) return;
    table.value = state.heat.table;
    column.value = state.heat.column;
  };
}

/** The note that only some fields were searched for labels and tables, with a button for all.
 * @param {import("./state.js").State} state @param {Actions} act @param {Find} byId */
function search(state, act, byId) {
  byId("search-all").addEventListener("click", () => act.searchAll());
  return () => {
    const { fields, searched } = state.scene;
    const readable = fields.filter((field) => !field[6]).length;
    byId("search").hidden = searched >= readable;
    byId("search").querySelector("p").textContent =
      `Labels are listed from ${counted(searched, "field")} of ${readable.toLocaleString("en")}, tables from fewer.`;
  };
}

/** @param {import("./state.js").State} state @param {Actions} act @param {Find} byId */
function buttons(state, act, byId) {
  for (const name of ["fit", "slices", "volume", "follow", "python", "png", "theme", "help"]) {
    byId(name).addEventListener("click", () => act[name]());
  }
  return () => {
    for (const name of /** @type {const} */ (["slices", "volume"])) {
      byId(name).hidden = !state.isDeep;
      byId(name).setAttribute("aria-pressed", String(state.mode === name));
    }
    byId("follow").setAttribute("aria-pressed", String(state.following));
  };
}
