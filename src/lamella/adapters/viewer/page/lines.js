/** Draw over the pixels: outlines and names of wells and fields, damage, heat maps, the scale bar. */

import { heatColor, heatRange } from "./palettes.js";

/** Return whether a field shows no pixels because it has no array yet, not because it is damaged. @param {string} reason */
export const isUnwritten = (reason) => reason.startsWith("No pixels");

/** @param {HTMLElement} element */
export const themeColors = (element) => {
  const style = getComputedStyle(element);
  const value = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  return {
    line: value("--line"),
    ground: value("--ground"),
    text: value("--text"),
    faint: value("--faint"),
    bad: value("--bad"),
    panel: value("--panel"),
    accent: value("--accent"),
  };
};

/**
 * @param {HTMLCanvasElement} canvas @param {import("./state.js").State} state @param {number} ratio device pixels per CSS pixel
 * @param {Map<number, string>} damaged fields that could not be read, with the reason
 * @param {[number, number]} insets width and height that slices cover at the right and at the bottom
 */
export function drawLines(canvas, state, ratio, damaged, insets) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { scene, camera } = state;
  const look = themeColors(canvas);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const width = canvas.width / ratio;
  const height = canvas.height / ratio;
  context.clearRect(0, 0, width, height);
  const zoom = camera.zoom / ratio;
  const x = (/** @type {number} */ value) => (value - camera.x) * zoom + width / 2;
  const y = (/** @type {number} */ value) => (value - camera.y) * zoom + height / 2;
  const plate = scene.wells.length > 1 || scene.rows.some((row) => row);
  const font = width > 2000 ? 19 : 12;
  context.font = `${font}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  if (plate) {
    context.lineWidth = 1;
    const [low, high] = heatRange(state.heat?.values ?? []);
    for (const [index, [path, left, top, across, down]] of scene.wells.entries()) {
      const box = [x(left), y(top), across * zoom, down * zoom];
      if (box[0] > width || box[1] > height || box[0] + box[2] < 0 || box[1] + box[3] < 0) continue;
      const value = state.heat?.values[index];
      if (value !== undefined && value !== null) {
        // A heat map is faint over wells that fill the screen, because the user looks at their pixels.
        context.globalAlpha = box[2] > 0.75 * width || box[3] > 0.75 * height ? 0.12 : 0.72;
        context.fillStyle = heatColor(high > low ? (value - low) / (high - low) : 0.5);
        context.fillRect(box[0], box[1], box[2], box[3]);
        context.globalAlpha = 1;
        if (box[2] > 44) tag(context, String(Number(value.toPrecision(4))), box[0] + box[2] / 2, box[1] + box[3] / 2, look, true);
      }
      context.strokeStyle = look.line;
      context.strokeRect(Math.round(box[0]) - 1.5, Math.round(box[1]) - 1.5, Math.round(box[2]) + 3, Math.round(box[3]) + 3);
      if (box[2] > 12 * font) tag(context, path, Math.max(box[0], 0) + font / 2, Math.max(box[1], 0) + font, look);
    }
  }
  const apart = scene.gap > 0 && scene.gap * zoom < 1; // a gap of at least one pixel separates the fields without a line
  scene.fields.forEach(([path, well, left, top, across, down, reason, , , acquisition], index) => {
    if (acquisition !== state.acquisition) return;
    const why = reason || damaged.get(index);
    const box = [x(left), y(top), across * zoom, down * zoom];
    if (box[0] > width || box[1] > height || box[0] + box[2] < 0 || box[1] + box[3] < 0) return;
    if (apart && box[2] > 16) {
      context.fillStyle = look.ground;
      context.fillRect(Math.round(box[0] + box[2]), Math.round(box[1]), 1, Math.ceil(box[3]));
      context.fillRect(Math.round(box[0]), Math.round(box[1] + box[3]), Math.ceil(box[2]), 1);
    }
    if (!why) {
      // The name of the well is in its first corner: the name of the field in this corner is drawn below it.
      const first = plate && left === scene.wells[well][1] && top === scene.wells[well][2];
      const below = first ? 2.6 * font : font;
      if (path && box[2] > 18 * font) tag(context, path, Math.max(box[0], 0) + font / 2, Math.max(box[1], 0) + below, look);
      return;
    }
    context.strokeStyle = isUnwritten(reason) ? look.faint : look.bad;
    context.strokeRect(box[0], box[1], box[2], box[3]);
    context.beginPath();
    context.moveTo(box[0], box[1]);
    context.lineTo(box[0] + box[2], box[1] + box[3]);
    context.moveTo(box[0] + box[2], box[1]);
    context.lineTo(box[0], box[1] + box[3]);
    context.stroke();
    if (box[2] > 160) {
      context.fillStyle = look.text;
      context.fillText(short(`${path}: ${why}`, box[2] / 6), box[0] + box[2] / 2, box[1] + box[3] / 2);
    }
  });
  if (state.mode === "slices") {
    context.fillStyle = look.accent;
    context.globalAlpha = 0.8;
    context.fillRect(Math.round(x(state.cross.x)), 0, 1, height);
    context.fillRect(0, Math.round(y(state.cross.y)), width, 1);
    context.globalAlpha = 1;
  }
  const [, , , wellWidth, wellHeight] = scene.wells[0];
  if (plate && (wellWidth * zoom < width / 2 || wellHeight * zoom < height / 2)) edges(context, state, x, y, width, height, font, look);
  const [right, bottom] = state.mode === "slices" ? insets : [0, 0];
  scaleBar(context, state, zoom, width - right, height - bottom, font, look);
}

/** Draw the names of rows at the left and of columns at the top of the screen.
 * @param {CanvasRenderingContext2D} context @param {import("./state.js").State} state @param {(v: number) => number} x
 * @param {(v: number) => number} y @param {number} width @param {number} height @param {number} font
 * @param {ReturnType<typeof themeColors>} look */
function edges(context, state, x, y, width, height, font, look) {
  /** @type {Map<string, number>} */
  const rows = new Map();
  /** @type {Map<string, number>} */
  const columns = new Map();
  for (const [path, left, top, across, down] of state.scene.wells) {
    const [row, column] = path.split("/");
    if (row && column === undefined) columns.set(row, x(left + across / 2));
    else if (column !== undefined) {
      rows.set(row, y(top + down / 2));
      columns.set(column, x(left + across / 2));
    }
  }
  context.fillStyle = look.faint;
  let last = Number.NEGATIVE_INFINITY;
  for (const [name, at] of [...columns].sort((a, b) => a[1] - b[1])) {
    if (at < 2 * font || at > width - 8 || at - last < 1.8 * font) continue;
    tag(context, name, at, Math.max(font, y(0) - 1.2 * font), look, true);
    last = at;
  }
  last = Number.NEGATIVE_INFINITY;
  for (const [name, at] of [...rows].sort((a, b) => a[1] - b[1])) {
    if (at < 2 * font || at > height - 8 || at - last < 1.3 * font) continue;
    tag(context, name, Math.max(font, x(0) - 1.4 * font), at, look, true);
    last = at;
  }
}

/** @param {CanvasRenderingContext2D} context @param {string} text @param {number} x @param {number} y
 * @param {ReturnType<typeof themeColors>} look @param {boolean} [centered] */
function tag(context, text, x, y, look, centered = false) {
  const font = Number.parseFloat(context.font);
  const wide = context.measureText(text).width + 8;
  const left = centered ? x - wide / 2 : x - 4;
  context.globalAlpha = 0.75;
  context.fillStyle = look.panel;
  context.fillRect(left, y - 0.67 * font, wide, 1.34 * font);
  context.globalAlpha = 1;
  context.fillStyle = look.text;
  context.fillText(text, left + wide / 2, y);
}

/** @param {string} text @param {number} length */
export const short = (text, length) => (text.length > length ? `${text.slice(0, Math.max(1, length - 1))}…` : text);

/** Return the length of a scale bar in physical units: 1, 2 or 5 times a power of ten, at most `most`. @param {number} most */
export function roundLength(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [5, 2, 1].map((factor) => factor * power).find((length) => length <= most) ?? power;
}

const SHORT = { micrometer: "µm", nanometer: "nm", millimeter: "mm", meter: "m", centimeter: "cm", angstrom: "Å", picometer: "pm" };

/** @param {string | null} unit */
export const shortUnit = (unit) => SHORT[/** @type {keyof typeof SHORT} */ (unit)] ?? unit ?? "px";

/** Units of length with their sizes in micrometres, the largest first. @type {[string, number][]} */
const LENGTHS = [
  ["m", 1e6],
  ["mm", 1e3],
  ["µm", 1],
  ["nm", 1e-3],
  ["pm", 1e-6],
];

/** Write a length in the unit in which it is 1 or more: 5 mm, not 5000 µm. @param {number} length @param {string | null} unit */
export function writtenLength(length, unit) {
  const name = shortUnit(unit);
  const size = LENGTHS.find(([known]) => known === name)?.[1];
  const fit = size === undefined ? undefined : LENGTHS.find(([, one]) => length * size >= one * (1 - 1e-9));
  const value = fit === undefined || size === undefined ? length : (length * size) / fit[1];
  return `${Number(value.toPrecision(6))} ${fit?.[0] ?? name}`;
}

/** @param {CanvasRenderingContext2D} context @param {import("./state.js").State} state @param {number} zoom
 * @param {number} width @param {number} height @param {number} font @param {ReturnType<typeof themeColors>} look */
function scaleBar(context, state, zoom, width, height, font, look) {
  const pixel = state.scene.pixel ?? 1;
  const length = roundLength((Math.min(18 * font, width / 3) / zoom) * pixel);
  const pixels = (length / pixel) * zoom;
  const text = writtenLength(length, state.scene.unit);
  context.canvas.ariaLabel = `Scale bar: ${text}`;
  const wide = Math.max(pixels, context.measureText(text).width);
  const right = width - 20;
  const bottom = height - 20;
  context.globalAlpha = 0.75;
  context.fillStyle = look.panel;
  context.fillRect(right - wide - 8, bottom - 2 * font, wide + 16, 2 * font + 10);
  context.globalAlpha = 1;
  context.fillStyle = look.text;
  context.fillRect(right - (wide + pixels) / 2, bottom, pixels, font / 4);
  context.fillText(text, right - wide / 2, bottom - 0.8 * font);
}
