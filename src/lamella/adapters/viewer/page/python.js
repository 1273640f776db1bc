/** Python that reads the region on the screen. */

/**
 * @param {import("./state.js").State} state @param {number} width @param {number} height of the screen in pixels
 * @param {number} field index of the field in the middle of the screen, or -1
 */
export function pythonFor(state, width, height, field) {
  const { scene, camera } = state;
  const lines = ["import lamella", "", `node = lamella.open_ome_zarr(${JSON.stringify(scene.store)})`];
  const [path, , left, top, across, down, , columns, rows] = scene.fields[Math.max(field, 0)];
  const [half, tall] = [width / 2 / camera.zoom, height / 2 / camera.zoom];
  const range = (/** @type {number} */ low, /** @type {number} */ high, /** @type {number} */ size, /** @type {number} */ pixels) => {
    const index = (/** @type {number} */ value) => Math.min(Math.max(Math.round((value / size) * pixels), 0), pixels);
    return `${index(low)}:${index(high)}`;
  };
  /** @type {Record<string, string>} */
  const cut = {
    t: String(state.t),
    z: state.z === "max" ? ":" : String(state.z),
    c: ":",
    y: range(camera.y - tall - top, camera.y + tall - top, down, rows),
    x: range(camera.x - half - left, camera.x + half - left, across, columns),
  };
  lines.push(`position = ${path ? `node[${JSON.stringify(path)}]` : "node"}`);
  const indices = [...scene.axes].map((axis) => cut[axis] ?? "0");
  const z = scene.axes.indexOf("z");
  const most = state.z === "max" && z >= 0 ? `.max(axis=${indices.slice(0, z).filter((index) => index.includes(":")).length})` : "";
  lines.push(`region = position.data[${indices.join(", ")}]${most}`);
  return lines.join("\n");
}
