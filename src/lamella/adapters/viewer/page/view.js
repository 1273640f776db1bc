/** One viewer in an element: reads the scene, draws frames, and brings them up to date. */

import { actions } from "./actions.js";
import { GLRenderer } from "./gl.js";
import { KEYS, listen } from "./input.js";
import { idAt, labelPicture } from "./labels.js";
import { build, element, finder } from "./layout.js";
import { drawLines, short, shortUnit } from "./lines.js";
import { drawMap } from "./overview.js";
import { heatColor, heatRange } from "./palettes.js";
import { buildPanel } from "./panel.js";
import { Slices } from "./slices.js";
import { MOST, PLAIN, SoftRenderer } from "./soft.js";
import { readJson, State } from "./state.js";
import { SIDE, Tiles } from "./tiles.js";
import { Volume } from "./volume.js";

/** Shortest time in ms between two requests for new pixels while the view follows. */
const FOLLOW = 1500;

/** Interval in ms at which the page asks how many fields have been read while it waits for the scene. */
const PATIENCE = 1000;

/** How long in ms to wait for the scene before the renderer is made, which takes 100 ms and more: a scene that arrives in
 * time is used to request pixels first. */
const SOON = 60;

/**
 * Show a viewer in an element, and return it; errors are shown in the element.
 * @param {HTMLElement} root @param {import("./state.js").Source} source
 * @param {{address?: boolean}} [options] `address`: write the state of the view to the address of the page, and read it there
 */
export async function mount(root, source, { address = false } = {}) {
  build(root);
  root.dataset.theme = readTheme();
  const scene = readJson(source, "scene.json");
  const ended = showLoading(source, finder(root)("hint"));
  try {
    const loaded = await Promise.race([scene, new Promise((done) => setTimeout(done, SOON))]);
    const renderer = loaded ? null : makeRenderer(root);
    const view = new View(root, source, loaded ?? (await scene), renderer, address);
    ended();
    if (address) Object.assign(window, { lamella: view }); // for the console of the browser, and for tests
    return view;
  } catch (error) {
    ended();
    finder(root)("hint").textContent = String(/** @type {Error} */ (error).message || error);
    return null;
  }
}

/** Return the renderer of pixels: WebGL, or the processor where it is missing. @param {HTMLElement} root */
function makeRenderer(root) {
  const [canvas, lines, map] = ["pixels", "lines", "map"].map(finder(root));
  const renderer = GLRenderer.create(canvas) ?? new SoftRenderer(canvas);
  if (renderer.emulated) for (const other of [lines, map]) other.getContext("2d", PLAIN); // later calls return this context
  return renderer;
}

/**
 * Show how many fields have been read while a scene is loading; return a function that removes the text.
 * @param {import("./state.js").Source} source @param {HTMLElement} hint
 */
function showLoading(source, hint) {
  let loading = true;
  const show = (/** @type {{fields: number}} */ { fields }) => {
    if (loading) hint.textContent = `Reading the documents: ${fields} ${fields === 1 ? "field" : "fields"} so far`;
  };
  // errors are ignored here: the request for the scene reports them
  const timer = setInterval(() => readJson(source, "progress.json").then(show, () => {}), PATIENCE);
  return () => {
    loading = false;
    clearInterval(timer);
    hint.textContent = "";
  };
}

/** Write the value of a pixel; whole numbers above 2**24 are rounded, because they are sent as float32. @param {number} value */
function written(value) {
  if (Number.isInteger(value)) return Math.abs(value) <= 2 ** 24 ? String(value) : `≈ ${Number(value.toPrecision(7))}`;
  return String(Number(value.toPrecision(6)));
}

/** Fluorescence is seen on black, so the theme is dark unless somebody chose otherwise. */
function readTheme() {
  try {
    return localStorage.getItem("lamella-theme") ?? "dark";
  } catch {
    return "dark"; // a page without storage
  }
}

export class View {
  /** @param {HTMLElement} root @param {import("./state.js").Source} source @param {import("./state.js").Scene} scene
   * @param {GLRenderer | SoftRenderer | null} renderer with null, `start` makes one after it has requested pixels
   * @param {boolean} address */
  constructor(root, source, scene, renderer, address) {
    this.root = root;
    this.source = source;
    this.scene = scene;
    this.address = address;
    this.byId = finder(root);
    this.state = new State(scene);
    this.stage = /** @type {HTMLElement} */ (this.byId("stage"));
    this.canvas = /** @type {HTMLCanvasElement} */ (this.byId("pixels"));
    this.over = /** @type {HTMLCanvasElement} */ (this.byId("lines"));
    this.renderer = /** @type {GLRenderer | SoftRenderer} */ (renderer); // made by start otherwise
    /** @type {Map<number, string>} fields that could not be read */
    this.damaged = new Map();
    /** @type {{x: number, y: number} | null} */
    this.pointer = null;
    /** @type {Map<string, string>} the stored properties of labels as text, by request */
    this.properties = new Map();
    /** The values from which the lines and the overview were last drawn. @type {unknown[]} */
    this.lined = [];
    this.asked = 0;
    this.sized = false;
    this.saving = 0;
    const arrived = () => this.frame();
    const failed = (/** @type {string} */ text) => this.problem(text);
    this.pixels = new Tiles(source, scene, arrived, failed);
    this.ids = new Tiles(source, scene, arrived, failed);
    this.pixels.dropped = this.ids.dropped = (tile) => this.renderer.drop(tile);
    this.slices = new Slices(source, this.state, { xz: this.byId("xz"), yz: this.byId("yz") }, arrived, failed);
    this.volume = new Volume(source, this.state, this.byId("solid"), arrived, failed);
    this.act = actions(this);
    this.start();
  }

  start() {
    const { state, scene, byId } = this;
    this.measure();
    if (this.canvas.width > 1 && !(this.address && location.hash)) {
      this.act.fit();
      const active = this.active();
      if (active.length) this.visiblePixels(active); // requests the pixels, which are read while the controls are made
    }
    this.renderer ??= makeRenderer(this.root); // takes about as long as the server needs for the pixels
    byId("keys")
      .querySelector("table")
      .append(...KEYS.map(([key, text]) => element("tr", {}, element("td", { textContent: key }), element("td", { textContent: text }))));
    const refresh = buildPanel(state, this.act, byId);
    this.listReasons();
    if (this.address) document.title = `${scene.name}, lamella`;
    state.listen(() => {
      refresh();
      this.frame();
      this.hover();
      if (!this.address) return;
      clearTimeout(this.saving);
      this.saving = window.setTimeout(() => history.replaceState(null, "", `#${state.toHash()}`), 150);
    });
    listen(this.stage, this.address ? document : this.root, state, { size: () => this.size(), act: this.act });
    this.listenToSlices();
    let shown = this.address && this.fromAddress();
    this.watch = new ResizeObserver(() => {
      this.measure();
      this.sized = true;
      if (!shown) this.act.fit();
      shown = true;
      state.changed();
    });
    this.watch.observe(this.stage);
    if (this.address) window.addEventListener("hashchange", () => this.fromAddress());
    if (scene.wells.length > 1) this.act.listTables();
    this.root.dataset.renderer = this.renderer.name;
  }

  /** Show the state in the address; return whether the address has a camera position. */
  fromAddress() {
    const { placed, own, table, column } = this.state.fromHash(location.hash);
    if (own !== (this.state.wellWindows !== null)) this.act.ownContrast();
    if (table && column) this.act.heat({ table, column });
    this.state.changed();
    return placed;
  }

  /** Set the size of the canvases to that of the stage. */
  measure() {
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight].map((side) => Math.max(1, Math.round(side * this.ratio)));
    for (const target of [this.canvas, this.over]) {
      if (target.width !== width) target.width = width;
      if (target.height !== height) target.height = height;
    }
  }

  get ratio() {
    return window.devicePixelRatio || 1;
  }

  /** Return width and height of the picture, and its pixels per CSS pixel. @returns {[number, number, number]} */
  size() {
    return [this.canvas.width, this.canvas.height, this.ratio];
  }

  /** Draw before the browser's next repaint; several calls draw once. */
  frame() {
    if (!this.asked) this.asked = requestAnimationFrame(() => this.draw());
  }

  /** Return the indices of the channels that are drawn. */
  active() {
    const chosen = this.state.channels.flatMap((channel, index) => (channel.active ? [index] : []));
    if (chosen.length > MOST) this.problem(`Only the first ${MOST} of ${chosen.length} chosen channels are drawn.`);
    return chosen.slice(0, MOST);
  }

  /** Return the tiles of the shown channels. @param {number[]} active */
  visiblePixels(active) {
    return this.pixels.visible(this.state.camera, this.canvas.width, this.canvas.height, `c=${active.join(",")}&${this.state.place}`);
  }

  draw() {
    this.asked = 0;
    if (!this.sized) return; // the element has no size yet
    const { state, canvas, renderer, pixels, ids } = this;
    const { camera } = state;
    const ground = this.ground();
    renderer.begin(ground);
    const active = this.active();
    const channels = active.map((index) => state.channels[index]);
    let complete = true;
    if (active.length) {
      for (const tile of this.visiblePixels(active)) {
        renderer.drawPixels(tile, this.placeOf(tile), channels, this.partsOf(tile, active));
        for (const [index, reason] of tile.damaged) this.note(index, reason);
      }
      complete = Boolean(pixels.complete);
    }
    if (state.label) {
      for (const tile of ids.visible(camera, canvas.width, canvas.height, `label=${encodeURIComponent(state.label)}&${state.place}`)) {
        renderer.drawLabels(tile, labelPicture(tile, state.opacity, state.labelPalette), this.placeOf(tile));
        for (const [index, reason] of tile.damaged) this.note(index, reason);
      }
      complete &&= Boolean(ids.complete);
    }
    renderer.end();
    this.drawOver();
    this.slices.draw(canvas.width, canvas.height, active, ground);
    this.volume.draw(canvas.width, canvas.height, active);
    this.root.dataset.complete = String(complete && this.slices.complete && this.volume.complete);
  }

  /** Draw the lines over the pixels, and the overview, if a value on which they depend has changed. */
  drawOver() {
    const { state, scene, over, damaged, ratio } = this;
    const { camera, cross } = state;
    const map = this.byId("map");
    const size = [over.width, over.height, map.width, map.height, ratio, this.root.dataset.theme];
    const shown = [scene.fields, state.acquisition, state.heat, state.mode, cross.x, cross.y, damaged.size];
    const lined = [camera.x, camera.y, camera.zoom, ...size, ...shown];
    if (lined.every((value, index) => value === this.lined[index])) return;
    this.lined = lined;
    const [below, beside] = Slices.sizes(over.width, over.height);
    drawLines(over, state, ratio, damaged, [beside / ratio, below / ratio]);
    if (scene.wells.length > 1) drawMap(map, state, over.width, over.height, damaged);
  }

  /** Return the rectangle of a tile on the screen. @param {import("./tiles.js").Tile} tile */
  placeOf(tile) {
    const { camera } = this.state;
    const step = 2 ** tile.level;
    const left = tile.column * SIDE * step;
    const top = tile.row * SIDE * step;
    const x = (/** @type {number} */ value) => Math.round((value - camera.x) * camera.zoom + this.canvas.width / 2);
    const y = (/** @type {number} */ value) => Math.round((value - camera.y) * camera.zoom + this.canvas.height / 2);
    return [x(left), y(top), x(left + tile.width * step), y(top + tile.height * step)];
  }

  /** Return the box of a tile that is on the screen, in its pixels: left, top, right, bottom. @param {import("./tiles.js").Tile} tile */
  onScreen(tile) {
    const { camera } = this.state;
    const at = (/** @type {number} */ value, /** @type {number} */ index, /** @type {number} */ size) =>
      Math.min(Math.max(Math.round(value / 2 ** tile.level - index * SIDE), 0), size);
    const [across, down] = [this.canvas.width / 2 / camera.zoom, this.canvas.height / 2 / camera.zoom];
    return [
      at(camera.x - across, tile.column, tile.width),
      at(camera.y - down, tile.row, tile.height),
      at(camera.x + across, tile.column, tile.width),
      at(camera.y + down, tile.row, tile.height),
    ];
  }

  /** Return the contrast windows of a tile: those of the channels, or for each well in the tile a box with its own windows.
   * @param {import("./tiles.js").Tile} tile @param {number[]} active @returns {import("./soft.js").Part[]} */
  partsOf(tile, active) {
    const { wellWindows, channels } = this.state;
    const shared = active.map((index) => channels[index].window);
    if (!wellWindows) return [{ box: [0, 0, tile.width, tile.height], windows: shared }];
    const step = 2 ** tile.level;
    const [left, top] = [tile.column * SIDE * step, tile.row * SIDE * step];
    /** @type {import("./soft.js").Part[]} */
    const parts = [];
    this.scene.wells.forEach(([, x, y, across, down], well) => {
      const at = (/** @type {number} */ value, /** @type {number} */ size) => Math.min(Math.max(Math.round(value / step), 0), size);
      const box = [at(x - left, tile.width), at(y - top, tile.height), at(x + across - left, tile.width), at(y + down - top, tile.height)];
      const windows = wellWindows[well];
      if (box[0] < box[2] && box[1] < box[3]) parts.push({ box, windows: windows ? active.map((index) => windows[index]) : shared });
    });
    return parts;
  }

  /** Return the background colour as red, green and blue. @returns {number[]} */
  ground() {
    const [red, green, blue] = (getComputedStyle(this.root).backgroundColor.match(/\d+/g) ?? ["0", "0", "0"]).map(Number);
    return [red, green, blue];
  }

  // -- problems and values at the pointer -----------------------------------------------------------------------

  /** List why fields show no pixels; fields with the same reason, such as those not written yet, share a line. */
  listReasons() {
    /** @type {Map<string, string[]>} */
    const paths = new Map();
    for (const [path, , , , , , reason] of this.scene.fields) {
      if (!reason) continue;
      if (!paths.has(reason)) paths.set(reason, []);
      paths.get(reason)?.push(path);
    }
    for (const [reason, [first, ...others]] of paths) {
      const more = others.length ? ` and ${others.length} more ${others.length === 1 ? "field" : "fields"}` : "";
      this.problem(`${first}${more}: ${reason}`);
    }
  }

  /** Mark a field as damaged, and list the reason once. @param {number} index @param {string} reason */
  note(index, reason) {
    if (this.damaged.has(index)) return;
    this.damaged.set(index, reason);
    this.problem(`${this.scene.fields[index][0]}: ${reason}`);
  }

  /** @param {string} text */
  problem(text) {
    const section = this.byId("problems");
    section.hidden = false;
    const list = section.querySelector("ul");
    if ([...list.children].some((line) => line.textContent === text) || list.children.length > 200) return;
    list.append(element("li", { textContent: list.children.length < 200 ? text : "More problems are not listed." }));
  }

  /** Return the values of all planes at a point of the canvas, from the finest tile in memory; "not written" for pixels
   * without data, null without a tile. @param {Tiles} tiles @param {string} what query of the tile: `c=0,1` or `label=NAME`
   * @param {{x: number, y: number}} point */
  valuesAt(tiles, what, { x, y }) {
    for (let level = tiles.levelFor(this.state.camera.zoom); level < this.scene.levels; level++) {
      const step = SIDE * 2 ** level;
      const tile = tiles.kept.get(`${level}/${Math.floor(x / step)}/${Math.floor(y / step)}?${what}&${this.state.place}`);
      if (!tile) continue;
      const column = Math.floor(x / 2 ** level) % SIDE;
      const row = Math.floor(y / 2 ** level) % SIDE;
      const at = row * tile.width + column;
      if (column >= tile.width || row >= tile.height || !tile.mask[at]) return null;
      if (tile.mask[at] > 1) return "not written";
      return Array.from({ length: tile.count }, (_, plane) => tile.planes[plane * tile.width * tile.height + at]);
    }
    return null;
  }

  hover() {
    const text = this.byId("cursor");
    const { state, scene, pointer } = this;
    const field = pointer && state.mode !== "volume" ? state.fieldAt(pointer) : -1;
    if (field < 0 || !pointer) {
      text.textContent = "";
      return;
    }
    const [path, , left, top] = scene.fields[field];
    const inside = [pointer.x - left, pointer.y - top];
    const digits = scene.pixel ? Math.min(12, Math.max(1, Math.ceil(-Math.log10(scene.pixel)))) : 0;
    const [x, y] = inside.map((value) => (scene.pixel ? (value * scene.pixel).toFixed(digits) : Math.floor(value)));
    const parts = [path, `x ${x}, y ${y} ${scene.pixel ? shortUnit(scene.unit) : ""}`.trim()];
    if (scene.fields[field][6] || this.damaged.has(field)) parts.push(scene.fields[field][6] || "cannot be read: see Problems");
    const active = this.active();
    const values = active.length ? this.valuesAt(this.pixels, `c=${active.join(",")}`, pointer) : null;
    if (values === "not written") parts.push(values);
    else
      parts.push(...(values ?? []).map((value, index) => `${short(state.channels[active[index]].name || "value", 18)} ${written(value)}`));
    const ids = state.label ? this.valuesAt(this.ids, `label=${encodeURIComponent(state.label)}`, pointer) : null;
    const id = ids && ids !== "not written" ? idAt(ids, ids.length, 0) : 0;
    if (id) parts.push(`${state.label} ${id}`, this.propertiesOf(field, id));
    const heat = state.heat?.values[scene.fields[field][1]];
    if (heat !== undefined && heat !== null) parts.push(`${state.heat?.column} ${Number(heat.toPrecision(6))}`);
    text.textContent = parts.filter(Boolean).join("  ·  ");
  }

  /** Return the stored properties of a label as text; "" until they have arrived. @param {number} field @param {number | bigint} id */
  propertiesOf(field, id) {
    const request = `label.json?field=${field}&label=${encodeURIComponent(this.state.label)}&id=${id}`;
    const known = this.properties.get(request);
    if (known !== undefined) return known;
    this.properties.set(request, "");
    readJson(this.source, request).then(
      ({ properties }) => {
        this.properties.set(
          request,
          Object.entries(properties)
            .map(([name, value]) => `${name} ${value}`)
            .join(", "),
        );
        this.hover();
      },
      (error) => {
        this.properties.delete(request); // the next movement of the pointer requests them again
        this.problem(error.message);
      },
    );
    return "";
  }

  /** Show the range of a heat map. */
  legend() {
    const { heat } = this.state;
    if (!heat) return;
    const legend = this.byId("legend");
    const canvas = legend.querySelector("canvas");
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    for (let x = 0; x < canvas.width; x++) {
      context.fillStyle = heatColor(x / (canvas.width - 1));
      context.fillRect(x, 0, 1, canvas.height);
    }
    const [low, high] = legend.querySelectorAll("output");
    [low.textContent, high.textContent] = heatRange(heat.values).map((value) => String(Number(value.toPrecision(4))));
    legend.querySelector("span").textContent = `${heat.column}, mean of each well`;
  }

  // -- slices and time ------------------------------------------------------------------------------------------

  /** On a click into a slice, show the plane of Z at that point. */
  listenToSlices() {
    for (const name of /** @type {const} */ (["xz", "yz"])) {
      const canvas = this.byId(name);
      for (const kind of ["pointerdown", "pointermove", "dblclick"])
        canvas.addEventListener(kind, (/** @type {Event} */ event) => event.stopPropagation());
      canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => {
        event.stopPropagation();
        const z = this.slices.planeAt(name, (name === "xz" ? event.offsetY : event.offsetX) * this.ratio);
        if (z === null) return;
        this.state.z = z;
        this.state.changed();
      });
    }
  }

  /** Read the documents again, and show the changes. @param {boolean} all also request all pixels again
   * @param {boolean} search list the labels and tables of all fields */
  async renew(all, search = false) {
    const fresh = await readJson(this.source, `scene.json?refresh=${all ? "all" : "1"}${search ? "&fields=all" : ""}`);
    const { scene, state } = this;
    const layout = (/** @type {any} */ { wells, fields, levels, channels, acquisitions }) =>
      JSON.stringify([wells, fields, levels, channels, acquisitions]);
    const moved = layout(scene) !== layout(fresh);
    const atEnd = state.t === scene.times - 1;
    if (fresh.channels.length !== scene.channels.length) {
      location.reload(); // the controls are made for the old number of channels
      return;
    }
    Object.assign(scene, fresh);
    if (atEnd && state.following) state.t = scene.times - 1;
    state.t = Math.min(state.t, scene.times - 1);
    if (moved) {
      this.pixels.clear();
      this.ids.clear();
    }
    this.damaged.clear();
    this.byId("problems").querySelector("ul").replaceChildren();
    this.byId("problems").hidden = true;
    this.listReasons();
    this.pixels.renew(all);
    this.ids.renew(all);
    this.slices.renew(all);
    this.volume.renew(all);
    this.properties.clear();
    state.changed();
  }

  /** Read the documents again at intervals while the view follows the acquisition. */
  async follow() {
    while (this.state.following && this.root.isConnected) {
      const started = performance.now();
      await this.renew(false).catch((error) => this.problem(error.message));
      const spent = performance.now() - started;
      // A large plate, which takes long to read, is read less often.
      await new Promise((done) => setTimeout(done, Math.max(FOLLOW, 4 * spent)));
    }
  }

  /** Stop watching the element. */
  destroy() {
    this.state.following = false;
    this.watch?.disconnect();
    this.pixels.clear();
    this.ids.clear();
  }
}
