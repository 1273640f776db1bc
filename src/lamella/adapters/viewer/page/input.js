/** Mouse, touch and keyboard: moving, zooming, stepping through wells, fields, Z and T. */

export const KEYS = [
  ["drag, arrows", "move"],
  ["wheel, + and −", "zoom"],
  ["double click, Enter", "zoom to the field"],
  ["0", "show everything"],
  ["Alt + arrows", "next well"],
  [", and .", "previous and next field"],
  ["[ and ]", "previous and next Z"],
  ["Page up, Page down", "previous and next time"],
  ["M", "maximum over Z, or one plane"],
  ["Space", "play time"],
  ["1 to 9", "channel on or off"],
  ["A", "contrast from the screen"],
  ["W", "contrast of each well, or one for all"],
  ["L", "labels on or off"],
  ["S", "slices along Z; click to move them"],
  ["V", "channels and labels in 3-D"],
  ["F", "follow pixels as they are written"],
  ["R", "read everything again"],
  ["C, P", "copy as Python, save as PNG"],
  ["D", "dark or light"],
  ["/", "find a well"],
  ["?", "this list"],
];

/**
 * @param {HTMLElement} stage @param {HTMLElement | Document} keyboard what listens to keys @param {import("./state.js").State} state
 * @param {{size: () => [number, number, number], act: Record<string, (argument?: any) => void>}} app
 */
export function listen(stage, keyboard, state, { size, act }) {
  /** @type {Map<number, {x: number, y: number}>} */
  const pointers = new Map();
  const { camera } = state;
  let pressed = { x: 0, y: 0 };

  /** Zoom around a point of the screen. @param {number} factor @param {number} x @param {number} y */
  const zoom = (factor, x, y) => {
    const [width, height, ratio] = size();
    const before = camera.zoom;
    camera.zoom = Math.min(Math.max(before * factor, 1e-5), 64);
    const change = 1 / before - 1 / camera.zoom;
    camera.x += (x * ratio - width / 2) * change;
    camera.y += (y * ratio - height / 2) * change;
    state.changed();
  };
  /** @param {PointerEvent | WheelEvent | MouseEvent} event @returns {[number, number]} */
  const at = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  /** @param {[number, number]} point */
  const world = ([x, y]) => {
    const [width, height, ratio] = size();
    return { x: camera.x + (x * ratio - width / 2) / camera.zoom, y: camera.y + (y * ratio - height / 2) / camera.zoom };
  };

  stage.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    pressed = { x: event.clientX, y: event.clientY };
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("dragging");
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    act.hover(world(at(event)));
    if (!before) return;
    const [, , ratio] = size();
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const distance = (/** @type {{x: number, y: number}} */ point) => Math.hypot(point.x - other.x, point.y - other.y);
      zoom(distance({ x: event.clientX, y: event.clientY }) / Math.max(1, distance(before)), ...at(event));
    } else {
      camera.x -= ((event.clientX - before.x) * ratio) / camera.zoom;
      camera.y -= ((event.clientY - before.y) * ratio) / camera.zoom;
      state.changed();
    }
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => {
      pointers.delete(/** @type {PointerEvent} */ (event).pointerId);
      if (!pointers.size) stage.classList.remove("dragging");
    });
  }
  stage.addEventListener("click", (event) => {
    if (Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) < 4) act.point(world(at(event)));
  });
  stage.addEventListener("pointerleave", () => act.hover(null));
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 24 : 1;
      zoom(2 ** (-Math.max(-240, Math.min(240, event.deltaY * lines)) / 240), ...at(event));
    },
    { passive: false },
  );
  stage.addEventListener("dblclick", (event) => act.toField(world(at(event))));

  keyboard.addEventListener("keydown", (/** @type {any} */ event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || takesText(target) || keyboard.querySelector("dialog[open]")) return;
    if (target !== stage && ["BUTTON", "INPUT"].includes(target.tagName) && (event.key === "Enter" || event.key === " ")) return;
    const [width, height, ratio] = size();
    const centre = /** @type {[number, number]} */ ([width / 2 / ratio, height / 2 / ratio]);
    const arrows = /** @type {Record<string, [number, number]>} */ ({
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    });
    const arrow = arrows[event.key];
    if (arrow && event.altKey) act.nextWell(arrow);
    else if (arrow) {
      camera.x += (arrow[0] * width * 0.1) / camera.zoom;
      camera.y += (arrow[1] * height * 0.1) / camera.zoom;
      state.changed();
    } else if (event.altKey) return;
    else if (event.key === "+" || event.key === "=") zoom(1.5, ...centre);
    else if (event.key === "-") zoom(1 / 1.5, ...centre);
    else if (/^[1-9]$/.test(event.key)) act.toggleChannel(Number(event.key) - 1);
    else {
      const actions = /** @type {Record<string, () => void>} */ ({
        0: act.fit,
        Enter: () => act.toField(camera),
        ",": () => act.nextField(-1),
        ".": () => act.nextField(1),
        "[": () => act.stepZ(-1),
        "]": () => act.stepZ(1),
        PageUp: () => act.stepT(-1),
        PageDown: () => act.stepT(1),
        m: act.projection,
        " ": act.play,
        a: () => act.contrast(),
        l: act.labels,
        d: act.theme,
        "/": act.find,
        "?": act.help,
        s: act.slices,
        v: act.volume,
        f: act.follow,
        r: act.reload,
        w: act.ownContrast,
        c: act.python,
        p: act.png,
        Escape: act.plane,
      });
      const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!action) return;
      action();
    }
    event.preventDefault();
  });
}

/** Return whether an element uses letters and arrows itself, such as a text field; the viewer then ignores them.
 * @param {HTMLElement} target */
function takesText(target) {
  return (
    target.tagName === "SELECT" ||
    (target.tagName === "INPUT" && !["checkbox", "color"].includes(/** @type {HTMLInputElement} */ (target).type))
  );
}
