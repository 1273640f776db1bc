/** The overview of a plate: all wells, and the rectangle of the screen. */

import { themeColors } from "./lines.js";
import { heatColor, heatRange } from "./palettes.js";

/** Draw the overview: wells, damaged ones in another colour, and the rectangle of the screen.
 * @param {HTMLCanvasElement} canvas @param {import("./state.js").State} state @param {number} width @param {number} height
 * @param {Map<number, string>} damaged */
export function drawMap(canvas, state, width, height, damaged) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const { scene, camera } = state;
  const look = themeColors(canvas);
  const scale = mapScale(canvas, scene);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const [low, high] = heatRange(state.heat?.values ?? []);
  const bad = new Set(scene.fields.flatMap((field, index) => (field[6] || damaged.has(index) ? [field[1]] : [])));
  scene.wells.forEach(([, x, y, across, down], index) => {
    const value = state.heat?.values[index];
    const hot = value !== undefined && value !== null;
    context.fillStyle = bad.has(index) ? look.bad : hot ? heatColor(high > low ? (value - low) / (high - low) : 0.5) : look.faint;
    context.fillRect(x * scale, y * scale, Math.max(1, across * scale - 1), Math.max(1, down * scale - 1));
  });
  context.strokeStyle = look.accent;
  context.lineWidth = 2;
  const [across, down] = [width / camera.zoom, height / camera.zoom];
  context.strokeRect((camera.x - across / 2) * scale, (camera.y - down / 2) * scale, across * scale, down * scale);
}

/** Return the pixels of the overview per canvas unit. @param {HTMLCanvasElement} canvas @param {import("./state.js").Scene} scene */
export const mapScale = (canvas, scene) => Math.min(canvas.width / scene.width, canvas.height / scene.height);
