/** The overview of a plate: all wells, and the rectangle of the screen. */

import { isUnwritten, themeColors } from "./lines.js";
import { heatColor, heatRange } from "./palettes.js";

/** Draw the overview: wells, damaged ones in another colour, those without pixels yet empty, and the rectangle of the screen.
 * @param {HTMLCanvasElement} canvas @param {import("./state.js").State} state @param {number} width @param {number} height
 * @param {Map<number, string>} damaged */
export function drawMap(canvas, state, width, height, damaged) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { scene, camera } = state;
  const look = themeColors(canvas);
  const scale = mapScale(canvas, scene);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const [low, high] = heatRange(state.heat?.values ?? []);
  const wellsOf = (/** @type {(reason: string, index: number) => boolean} */ chosen) =>
    new Set(scene.fields.flatMap((field, index) => (chosen(field[6], index) ? [field[1]] : [])));
  const bad = wellsOf((reason, index) => damaged.has(index) || Boolean(reason && !isUnwritten(reason)));
  const written = wellsOf((reason) => !reason);
  scene.wells.forEach(([, x, y, across, down], index) => {
    const value = state.heat?.values[index];
    const hot = value !== undefined && value !== null;
    const plain = written.has(index) ? look.faint : look.line;
    context.fillStyle = bad.has(index) ? look.bad : hot ? heatColor(high > low ? (value - low) / (high - low) : 0.5) : plain;
    context.fillRect(x * scale, y * scale, Math.max(1, across * scale - 1), Math.max(1, down * scale - 1));
  });
  context.strokeStyle = look.accent;
  context.lineWidth = 2;
  const [across, down] = [width / camera.zoom / 2, height / camera.zoom / 2];
  const within = (/** @type {number} */ at, /** @type {number} */ size) => Math.min(Math.max(at * scale, 1), size - 1); // all of its lines are seen
  const [left, right] = [within(camera.x - across, canvas.width), within(camera.x + across, canvas.width)];
  const [top, bottom] = [within(camera.y - down, canvas.height), within(camera.y + down, canvas.height)];
  context.strokeRect(left, top, right - left, bottom - top);
}

/** Return the pixels of the overview per canvas unit. @param {HTMLCanvasElement} canvas @param {import("./state.js").Scene} scene */
export const mapScale = (canvas, scene) => Math.min(canvas.width / scene.width, canvas.height / scene.height);
