/** The page: reads the scene, draws frames, and carries out what the controls ask for. */

import { GLRenderer } from "./gl.js";
import { KEYS, listen } from "./input.js";
import { labelPicture } from "./labels.js";
import { drawLines, drawMap, shortUnit } from "./lines.js";
import { buildPanel, byId, element } from "./panel.js";
import { pythonFor } from "./python.js";
import { SoftRenderer } from "./soft.js";
import { State } from "./state.js";
import { SIDE, Tiles } from "./tiles.js";

/** Start the viewer on a scene. @param {import("./state.js").Scene} scene */
function start(scene) {
  const state = new State(scene);
  const stage = byId("stage");
  const canvas = byId("pixels");
  const over = byId("lines");
  const renderer = GLRenderer.create(canvas) ?? new SoftRenderer(canvas);
  const ratio = () => window.devicePixelRatio || 1;
  const size = () => /** @type {[number, number, number]} */ ([canvas.width, canvas.height, ratio()]);
  /** @type {Map<number, string>} fields that could not be read */
  const damaged = new Map();
  /** @type {{x: number, y: number} | null} */
  let pointer = null;
  let asked = 0;
  let playing = 0;

  const arrived = () => frame();
  const failed = (/** @type {string} */ text) => problem(text);
  const pixels = new Tiles(scene, arrived, failed);
  const ids = new Tiles(scene, arrived, failed);
  pixels.dropped = ids.dropped = (tile) => renderer.drop(tile);

  /** Draw once before the next repaint. */
  function frame() {
    if (!asked) asked = requestAnimationFrame(draw);
  }

  const shownChannels = () => state.channels.flatMap((channel, index) => (channel.active ? [index] : [])).slice(0, renderer.most);
  const query = (/** @type {string} */ what) => `${what}&t=${state.t}&z=${state.z}`;

  function draw() {
    asked = 0;
    const { camera } = state;
    const place = (/** @type {import("./tiles.js").Tile} */ tile) => {
      const step = 2 ** tile.level;
      const left = tile.column * SIDE * step;
      const top = tile.row * SIDE * step;
      const x = (/** @type {number} */ value) => Math.round((value - camera.x) * camera.zoom + canvas.width / 2);
      const y = (/** @type {number} */ value) => Math.round((value - camera.y) * camera.zoom + canvas.height / 2);
      return [x(left), y(top), x(left + tile.width * step), y(top + tile.height * step)];
    };
    renderer.begin(ground());
    const active = shownChannels();
    const channels = active.map((index) => state.channels[index]);
    let complete = true;
    if (active.length) {
      const tiles = pixels.visible(camera, canvas.width, canvas.height, query(`c=${active.join(",")}`));
      for (const tile of tiles) {
        renderer.drawPixels(tile, place(tile), channels);
        for (const [index, reason] of tile.damaged) note(index, reason);
      }
      complete = Boolean(pixels.complete);
    }
    if (state.label) {
      const tiles = ids.visible(camera, canvas.width, canvas.height, query(`label=${encodeURIComponent(state.label)}`));
      for (const tile of tiles) {
        const colors = scene.colors[state.label] ?? {};
        renderer.drawLabels(tile, labelPicture(tile, state.opacity, colors), place(tile), state.opacity);
      }
      complete &&= Boolean(ids.complete);
    }
    renderer.end();
    drawLines(over, state, ratio(), damaged);
    if (scene.wells.length > 1) drawMap(byId("map"), state, canvas.width, canvas.height, damaged);
    document.body.dataset.complete = String(complete);
  }

  /** @param {number} index @param {string} reason */
  function note(index, reason) {
    if (damaged.has(index)) return;
    damaged.set(index, reason);
    problem(`${scene.fields[index][0]}: ${reason}`);
  }

  /** @param {string} text */
  function problem(text) {
    const section = byId("problems");
    section.hidden = false;
    const list = section.querySelector("ul");
    if (list.children.length < 200) list.append(element("li", { textContent: text }));
  }

  const ground = () => {
    const [red, green, blue] = (getComputedStyle(document.body).backgroundColor.match(/\d+/g) ?? ["0", "0", "0"]).map(Number);
    return [red, green, blue];
  };

  /** @param {number[]} box x, y, width, height in canvas units @param {number} margin */
  function show([x, y, width, height], margin = 0.94) {
    state.camera.zoom = Math.min((canvas.width / width) * margin, (canvas.height / height) * margin, 64);
    state.camera.x = x + width / 2;
    state.camera.y = y + height / 2;
    state.changed();
  }

  const fieldAt = (/** @type {{x: number, y: number}} */ { x, y }) =>
    scene.fields.findIndex(([, , left, top, across, down]) => x >= left && x < left + across && y >= top && y < top + down);
  const wellAt = (/** @type {{x: number, y: number}} */ { x, y }) => {
    const distances = scene.wells.map(([, left, top, across, down]) => Math.hypot(left + across / 2 - x, top + down / 2 - y));
    return distances.indexOf(Math.min(...distances));
  };
  const boxOf = (/** @type {number} */ field) => scene.fields[field].slice(2, 6).map(Number);

  /** Return the value of a tile at a point of the canvas, of each plane. @param {Tiles} tiles @param {string} what
   * @param {{x: number, y: number}} point */
  function valuesAt(tiles, what, { x, y }) {
    for (let level = tiles.levelFor(state.camera.zoom); level < scene.levels; level++) {
      const step = SIDE * 2 ** level;
      const tile = tiles.kept.get(`${level}/${Math.floor(x / step)}/${Math.floor(y / step)}?${query(what)}`);
      if (!tile) continue;
      const column = Math.floor(x / 2 ** level) % SIDE;
      const row = Math.floor(y / 2 ** level) % SIDE;
      const at = row * tile.width + column;
      if (column >= tile.width || row >= tile.height || !tile.mask[at]) return null;
      return Array.from({ length: tile.count }, (_, plane) => tile.planes[plane * tile.width * tile.height + at]);
    }
    return null;
  }

  function hover() {
    const text = byId("cursor");
    text.textContent = "";
    if (!pointer) return;
    const field = fieldAt(pointer);
    if (field < 0) return;
    const [path, , left, top] = scene.fields[field];
    const inside = [pointer.x - left, pointer.y - top];
    const where = scene.pixel
      ? `x ${(inside[0] * scene.pixel).toFixed(1)}, y ${(inside[1] * scene.pixel).toFixed(1)} ${shortUnit(scene.unit)}`
      : `x ${Math.floor(inside[0])}, y ${Math.floor(inside[1])}`;
    const parts = [path, where];
    const active = shownChannels();
    valuesAt(pixels, `c=${active.join(",")}`, pointer)?.forEach((value, index) => {
      parts.push(`${state.channels[active[index]].name || "value"} ${Number(value.toPrecision(6))}`);
    });
    const id = state.label && valuesAt(ids, `label=${encodeURIComponent(state.label)}`, pointer)?.[0];
    if (id) parts.push(`${state.label} ${id}`);
    text.textContent = parts.filter(Boolean).join("   ");
  }

  /** Choose the contrast of channels by what is on the screen: the 0.1th to the 99.9th percentile. @param {number} [only] */
  function contrast(only) {
    const active = shownChannels();
    const tiles = pixels.visible(state.camera, canvas.width, canvas.height, query(`c=${active.join(",")}`));
    active.forEach((channel, plane) => {
      if (only !== undefined && only !== channel) return;
      const values = [];
      for (const tile of tiles) {
        const length = tile.width * tile.height;
        const step = Math.max(1, Math.floor((length * tiles.length) / 200000));
        for (let i = 0; i < length; i += step) {
          const value = tile.planes[plane * length + i];
          if (tile.mask[i] && Number.isFinite(value)) values.push(value);
        }
      }
      if (!values.length) return;
      values.sort((a, b) => a - b);
      const at = (/** @type {number} */ part) => values[Math.min(values.length - 1, Math.floor(part * values.length))];
      const [low, high] = [at(0.001), at(0.999)];
      state.channels[channel].window = low < high ? [low, high] : [values[0], values.at(-1) ?? low];
    });
    state.changed();
  }

  const clamp = (/** @type {number} */ value, /** @type {number} */ length) => Math.min(Math.max(value, 0), length - 1);
  /** @type {Record<string, (argument?: any) => void>} */
  const act = {
    fit: () => show([0, 0, scene.width, scene.height], scene.wells.length > 1 ? 0.88 : 0.96),
    toField: (point) => {
      const field = fieldAt(point);
      if (field >= 0) show(boxOf(field));
    },
    toWell: (index) => show(scene.wells[index].slice(1).map(Number)),
    nextWell: ([right, down]) => {
      const [, left, top] = scene.wells[wellAt(state.camera)];
      const ahead = scene.wells
        .map(([, x, y], index) => ({ index, x: x - left, y: y - top }))
        .filter(({ x, y }) => (right ? x * right > 0 && Math.abs(y) < 1 : y * down > 0 && Math.abs(x) < 1))
        .sort((a, b) => Math.abs(a.x + a.y) - Math.abs(b.x + b.y));
      if (ahead.length) act.toWell(ahead[0].index);
    },
    nextField: (step) => show(boxOf(clamp(fieldAt(state.camera) + step, scene.fields.length))),
    stepZ: (step) => {
      if (state.z !== "max") state.z = clamp(state.z + step, scene.depth);
      state.changed();
    },
    stepT: (step) => {
      state.t = clamp(state.t + step, scene.times);
      state.changed();
    },
    projection: () => {
      state.z = state.z === "max" ? Math.floor(scene.depth / 2) : "max";
      state.changed();
    },
    play: () => {
      if (playing) {
        clearInterval(playing);
        playing = 0;
      } else if (scene.times > 1) {
        playing = window.setInterval(() => {
          if (document.body.dataset.complete !== "true") return; // the frame before is not drawn yet
          state.t = (state.t + 1) % scene.times;
          state.changed();
        }, 120);
      }
    },
    toggleChannel: (index) => {
      if (!state.channels[index]) return;
      state.channels[index].active = !state.channels[index].active;
      state.changed();
    },
    contrast: (only) => contrast(only),
    labels: () => {
      state.label = state.label ? "" : (scene.labels[0] ?? "");
      state.changed();
    },
    theme: () => {
      const dark = document.documentElement.dataset.theme !== "light";
      document.documentElement.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("lamella-theme", document.documentElement.dataset.theme);
      state.changed();
    },
    find: () => byId("well").focus(),
    help: () => byId("keys").showModal(),
    hint: (text) => {
      byId("hint").textContent = text;
      setTimeout(() => {
        if (byId("hint").textContent === text) byId("hint").textContent = "";
      }, 4000);
    },
    hover: (point) => {
      pointer = point;
      hover();
    },
    map: ([x, y]) => {
      const scale = Math.min(byId("map").width / scene.width, byId("map").height / scene.height);
      Object.assign(state.camera, { x: x / scale, y: y / scale });
      state.changed();
    },
    python: async () => {
      const text = pythonFor(state, canvas.width, canvas.height, fieldAt(state.camera));
      await navigator.clipboard?.writeText(text).catch(() => {});
      document.body.dataset.python = text;
      act.hint("Python for this region was copied.");
    },
    png: () => {
      const picture = new OffscreenCanvas(canvas.width, canvas.height);
      const context = /** @type {OffscreenCanvasRenderingContext2D} */ (picture.getContext("2d"));
      context.drawImage(canvas, 0, 0);
      context.drawImage(over, 0, 0);
      picture.convertToBlob({ type: "image/png" }).then((blob) => {
        const link = element("a", { href: URL.createObjectURL(blob), download: `${scene.name}.png` });
        link.click();
        URL.revokeObjectURL(/** @type {any} */ (link).href);
      });
    },
  };

  byId("keys").querySelector("table").append(...KEYS.map(([key, text]) => element("tr", {}, element("td", { textContent: key }), element("td", { textContent: text }))));
  const refresh = buildPanel(state, act);
  for (const [path, , , , , , reason] of scene.fields) if (reason) problem(`${path}: ${reason}`);
  let saving = 0;
  state.listen(() => {
    refresh();
    frame();
    hover();
    clearTimeout(saving);
    saving = window.setTimeout(() => history.replaceState(null, "", `#${state.toHash()}`), 150);
  });
  listen(stage, state, { size, act });
  const linked = state.fromHash(location.hash);
  let shown = linked;
  new ResizeObserver(() => {
    for (const target of [canvas, over]) {
      target.width = Math.max(1, Math.round(stage.clientWidth * ratio()));
      target.height = Math.max(1, Math.round(stage.clientHeight * ratio()));
    }
    if (!shown) act.fit();
    shown = true;
    state.changed();
  }).observe(stage);
  window.addEventListener("hashchange", () => {
    state.fromHash(location.hash);
    state.changed();
  });
  document.body.dataset.renderer = renderer.name;
  Object.assign(window, { lamella: { state, scene, pixels, ids, act } }); // for those who look inside, and for tests
}

document.documentElement.dataset.theme = localStorage.getItem("lamella-theme") ?? "dark"; // fluorescence is seen on black
try {
  const answer = await fetch("scene.json");
  if (!answer.ok) throw new Error(await answer.text());
  start(await answer.json());
} catch (error) {
  byId("hint").textContent = String(/** @type {Error} */ (error).message || error);
}
