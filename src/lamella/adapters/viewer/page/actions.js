/** The actions that controls and keys call: moving, time and Z, contrast, plates, and exports. */

import { element, setOptions } from "./layout.js";
import { pythonFor } from "./python.js";
import { Slices } from "./slices.js";
import { readJson } from "./state.js";

const clamp = (/** @type {number} */ value, /** @type {number} */ length) => Math.min(Math.max(value, 0), length - 1);

/** @param {import("./view.js").View} view @returns {Record<string, (argument?: any) => any>} */
export function actions(view) {
  return { ...moves(view), ...dimensionActions(view), ...contrastActions(view), ...plateActions(view), ...exports(view) };
}

/** @param {import("./view.js").View} view */
function moves(view) {
  const { state, scene } = view;

  /** @param {number[]} box x, y, width, height in canvas units @param {number} margin */
  function show([x, y, width, height], margin = 0.94) {
    const { canvas } = view;
    const [below, beside] = state.mode === "slices" ? Slices.sizes(canvas.width, canvas.height) : [0, 0]; // covered
    const zoom = Math.min(((canvas.width - beside) / width) * margin, ((canvas.height - below) / height) * margin, 64);
    state.camera.zoom = zoom;
    state.camera.x = x + width / 2 + beside / 2 / zoom;
    state.camera.y = y + height / 2 + below / 2 / zoom;
    state.changed();
  }
  const nearestWell = (/** @type {{x: number, y: number}} */ { x, y }) => {
    const distances = scene.wells.map(([, left, top, across, down]) => Math.hypot(left + across / 2 - x, top + down / 2 - y));
    return distances.indexOf(Math.min(...distances));
  };
  const toWell = (/** @type {number} */ index) => show(scene.wells[index].slice(1).map(Number));
  const toField = (/** @type {number} */ index) => show(scene.fields[index].slice(2, 6).map(Number));
  return {
    fit: () => show([0, 0, scene.width, scene.height], scene.wells.length > 1 ? 0.88 : 0.96),
    toField: (/** @type {{x: number, y: number}} */ point) => {
      const field = state.fieldAt(point);
      if (field >= 0) toField(field);
    },
    toWell,
    nextWell: (/** @type {[number, number]} */ [right, down]) => {
      const [, left, top] = scene.wells[nearestWell(state.camera)];
      const ahead = scene.wells
        .map(([, x, y], index) => ({ index, x: x - left, y: y - top }))
        .filter(({ x, y }) => (right ? x * right > 0 && Math.abs(y) < 1 : y * down > 0 && Math.abs(x) < 1))
        .sort((a, b) => Math.abs(a.x + a.y) - Math.abs(b.x + b.y));
      if (ahead.length) toWell(ahead[0].index);
    },
    nextField: (/** @type {number} */ step) => {
      const fields = scene.fields.flatMap((field, index) => (field[9] === state.acquisition ? [index] : []));
      toField(fields[clamp(fields.indexOf(state.nearestField()) + step, fields.length)]);
    },
    findWell: (/** @type {string} */ typed) => {
      const plain = (/** @type {string} */ path) =>
        path
          .toLowerCase()
          .replace("/", "")
          .replace(/([a-z]+)0*/, "$1");
      const exact = scene.wells.findIndex(([path]) => path.toLowerCase() === typed.trim().toLowerCase());
      const index = exact >= 0 ? exact : scene.wells.findIndex(([path]) => plain(path) === plain(typed.trim()));
      if (index >= 0) toWell(index);
      else view.act.hint(`There is no well ${typed} in this plate.`);
    },
    lookAt: (/** @type {{x: number, y: number}} */ point) => {
      Object.assign(state.camera, point);
      state.changed();
    },
    find: () => view.byId("well").focus(),
    hover: (/** @type {{x: number, y: number} | null} */ point) => {
      view.pointer = point;
      view.hover();
    },
    point: (/** @type {{x: number, y: number}} */ point) => {
      if (state.mode !== "slices" || state.fieldAt(point) < 0) return;
      state.cross = point;
      state.changed();
    },
  };
}

/** @param {import("./view.js").View} view */
function dimensionActions(view) {
  const { state, scene } = view;
  let playing = 0;
  const mode = (/** @type {"slices" | "volume"} */ name) => {
    if (!state.isDeep) return;
    state.mode = state.mode === name ? "plane" : name;
    if (name === "slices") {
      const [, , left, top, across, down] = scene.fields[state.nearestField()];
      state.cross =
        state.fieldAt(state.camera) >= 0 ? { x: state.camera.x, y: state.camera.y } : { x: left + across / 2, y: top + down / 2 };
    }
    state.changed();
  };
  return {
    stepZ: (/** @type {number} */ step) => {
      if (state.z !== "max") state.z = clamp(state.z + step, scene.depth);
      state.changed();
    },
    stepT: (/** @type {number} */ step) => {
      state.t = clamp(state.t + step, scene.times);
      state.changed();
    },
    projection: () => {
      if (scene.depth < 2) return;
      state.z = state.z === "max" ? Math.floor(scene.depth / 2) : "max";
      state.changed();
    },
    play: () => {
      if (playing) {
        clearInterval(playing);
        playing = 0;
      } else if (scene.times > 1) {
        playing = window.setInterval(() => {
          if (view.root.dataset.complete !== "true") return; // the current frame is not drawn completely yet
          state.t = (state.t + 1) % scene.times;
          state.changed();
        }, 120);
      }
    },
    slices: () => mode("slices"),
    volume: () => mode("volume"),
    plane: () => {
      state.mode = "plane";
      state.changed();
    },
    follow: () => {
      state.following = !state.following;
      if (state.following) view.follow();
      state.changed();
    },
    reload: async () => {
      await view.renew(true);
      view.act.hint("Everything was read again.");
    },
  };
}

/** @param {import("./view.js").View} view */
function contrastActions(view) {
  const { state } = view;

  /** Set the contrast of channels to the 0.1th and 99.9th percentile of the pixels on the screen.
   * @param {number} [only] index of a channel; all active ones without it */
  function fromScreen(only) {
    const active = view.active();
    const tiles = active.length ? view.visiblePixels(active) : [];
    active.forEach((channel, plane) => {
      if (only !== undefined && only !== channel) return;
      /** @type {number[]} */
      const values = [];
      for (const tile of tiles) {
        const length = tile.width * tile.height;
        const [left, top, right, bottom] = view.onScreen(tile);
        const across = right - left;
        const count = across * Math.max(0, bottom - top);
        const step = Math.max(1, Math.floor((count * tiles.length) / 200000));
        for (let n = 0; n < count; n += step) {
          const i = (top + Math.floor(n / across)) * tile.width + left + (n % across);
          const value = tile.planes[plane * length + i];
          if (tile.mask[i] === 1 && Number.isFinite(value)) values.push(value);
        }
      }
      if (!values.length) return;
      values.sort((a, b) => a - b);
      const at = (/** @type {number} */ part) => values[Math.min(values.length - 1, Math.floor(part * values.length))];
      const [low, high] = [at(0.001), at(0.999)];
      state.channels[channel].window = low < high ? [low, high] : [values[0], values.at(-1) ?? low];
    });
    state.wellWindows = null;
    state.changed();
  }
  return {
    contrast: fromScreen,
    ownContrast: async () => {
      if (state.wellWindows) {
        state.wellWindows = null;
      } else if (state.scene.wells.length > 1) {
        try {
          state.wellWindows = await readJson(view.source, `windows.json?${state.place}`);
        } catch (error) {
          view.problem(/** @type {Error} */ (error).message);
        }
      }
      state.changed();
    },
    save: async () => {
      const channels = state.channels.map(({ name, window }) => ({ name, window }));
      try {
        const { fields } = await view.source.post("contrast", channels);
        view.act.hint(`The contrast was saved in ${fields} ${fields === 1 ? "field" : "fields"}.`);
      } catch (error) {
        view.problem(/** @type {Error} */ (error).message);
      }
    },
    toggleChannel: (/** @type {number} */ index) => {
      if (!state.channels[index]) return;
      state.channels[index].active = !state.channels[index].active;
      state.changed();
    },
    labels: () => {
      state.label = state.label ? "" : (state.scene.labels[0] ?? "");
      state.changed();
    },
  };
}

/** @param {import("./view.js").View} view */
function plateActions(view) {
  const { state, byId } = view;
  /** Read a request that a table needs, and show its error in the page. @param {string} request */
  const ask = (request) =>
    readJson(view.source, request).catch((error) => {
      view.problem(error.message);
      return null;
    });
  return {
    listTables: async () => {
      const names = (await ask("tables.json")) ?? [];
      byId("heat").hidden = !names.length;
      setOptions(byId("table"), [["", "none"], ...names.map((/** @type {string} */ name) => [name, name])]);
      if (state.heat) byId("table").value = state.heat.table;
    },
    searchAll: async () => {
      view.act.hint("All fields are searched for labels and tables.");
      try {
        await view.renew(false, true);
        await view.act.listTables();
        view.act.hint("All fields were searched.");
      } catch (error) {
        view.problem(/** @type {Error} */ (error).message);
      }
    },
    heatTable: async (/** @type {string} */ table) => {
      const column = byId("column");
      const columns = table ? ((await ask(`columns.json?table=${encodeURIComponent(table)}`)) ?? []) : [];
      setOptions(
        column,
        columns.map((/** @type {string} */ name) => [name, name]),
      );
      column.hidden = !columns.length;
      if (columns.length) await view.act.heat({ table, column: columns[0] });
      else {
        state.heat = null;
        state.changed();
      }
    },
    heat: async (/** @type {{table: string, column: string}} */ { table, column }) => {
      const values = await ask(`heat.json?table=${encodeURIComponent(table)}&column=${encodeURIComponent(column)}`);
      if (!values) return;
      state.heat = { table, column, values };
      const choice = byId("column");
      if (choice.hidden) setOptions(choice, [[column, column]]);
      choice.hidden = false;
      view.legend();
      state.changed();
    },
  };
}

/** @param {import("./view.js").View} view */
function exports(view) {
  const { state, scene, byId } = view;
  const showText = (/** @type {string} */ text) => {
    const area = byId("code").querySelector("textarea");
    area.value = text;
    area.rows = text.split("\n").length;
    byId("code").showModal();
    area.select();
  };
  return {
    theme: () => {
      view.root.dataset.theme = view.root.dataset.theme === "light" ? "dark" : "light";
      try {
        localStorage.setItem("lamella-theme", view.root.dataset.theme);
      } catch {
        // without storage the theme is lost when the page is closed
      }
      state.changed();
    },
    help: () => byId("keys").showModal(),
    hint: (/** @type {string} */ text) => {
      byId("hint").textContent = text;
      setTimeout(() => {
        if (byId("hint").textContent === text) byId("hint").textContent = "";
      }, 4000);
    },
    python: async () => {
      const text = pythonFor(state, view.canvas.width, view.canvas.height, state.nearestField());
      view.root.dataset.python = text;
      const copied = await navigator.clipboard?.writeText(text).then(
        () => true,
        () => false,
      );
      if (copied) view.act.hint("Python for this region was copied.");
      else showText(text); // browsers forbid copying in a page that is served by another machine without HTTPS
    },
    png: () => {
      const picture = new OffscreenCanvas(view.canvas.width, view.canvas.height);
      const context = /** @type {OffscreenCanvasRenderingContext2D} */ (picture.getContext("2d"));
      context.drawImage(view.canvas, 0, 0);
      context.drawImage(view.over, 0, 0);
      const [below, beside] = [byId("xz"), byId("yz")];
      if (!below.hidden) context.drawImage(below, 0, picture.height - below.height);
      if (!beside.hidden) context.drawImage(beside, picture.width - beside.width, 0);
      if (!byId("solid").hidden) context.drawImage(byId("solid"), 0, 0);
      return picture.convertToBlob({ type: "image/png" }).then((blob) => {
        const link = element("a", { href: URL.createObjectURL(blob), download: `${scene.name}.png` });
        link.click();
        URL.revokeObjectURL(link.href);
        return blob;
      });
    },
  };
}
