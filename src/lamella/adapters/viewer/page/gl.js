/** Draw tiles with WebGL 2. The graphics processor applies windows and colours, so a change of contrast needs no request. */

import { EMPTY, HATCH, MOST } from "./soft.js";
import { rgb } from "./state.js";

const VERTEX = `#version 300 es
uniform vec4 place;
out vec2 at;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1);
  at = corner;
  gl_Position = vec4(mix(place.xy, place.zw, corner), 0, 1);
}`;

/** @param {string} sampler */
const fragment = (sampler) => `#version 300 es
precision highp float;
precision highp int;
precision highp ${sampler};
precision highp sampler2D;
uniform ${sampler} planes;
uniform sampler2D mask;
uniform int count;
uniform vec2 windows[${MOST}];
uniform vec3 colors[${MOST}];
#define HATCH ${(HATCH / 255).toFixed(4)}
#define EMPTY ${(EMPTY / 255).toFixed(4)}
in vec2 at;
out vec4 color;
void main() {
  ivec2 size = textureSize(planes, 0).xy;
  ivec2 pixel = min(ivec2(at * vec2(size)), size - 1);
  float covered = texelFetch(mask, pixel, 0).r * 255.0;
  if (covered < 0.5) discard;
  if (covered > 1.5) {
    color = vec4(vec3((pixel.x + pixel.y) % 8 < 2 ? HATCH : EMPTY), 1);
    return;
  }
  vec3 total = vec3(0);
  for (int i = 0; i < count; i++) {
    float value = float(texelFetch(planes, ivec3(pixel, i), 0).r);
    float span = windows[i].y - windows[i].x;
    float level = span > 0.0 ? (value - windows[i].x) / span : float(value > windows[i].x);
    level = isnan(value) ? 0.0 : clamp(level, 0.0, 1.0);
    total += level * colors[i];
  }
  color = vec4(min(total, 1.0), 1);
}`;

const LABEL = `#version 300 es
precision highp float;
uniform sampler2D planes;
in vec2 at;
out vec4 color;
void main() {
  ivec2 size = textureSize(planes, 0);
  vec4 value = texelFetch(planes, min(ivec2(at * vec2(size)), size - 1), 0);
  color = vec4(value.rgb * value.a, value.a);
}`;

/** Return whether WebGL is emulated by the processor, as without a graphics card. @param {WebGL2RenderingContext} gl */
function isEmulated(gl) {
  const names = gl.getExtension("WEBGL_debug_renderer_info");
  return names !== null && /swiftshader|llvmpipe|softpipe|basic render/i.test(gl.getParameter(names.UNMASKED_RENDERER_WEBGL));
}

export class GLRenderer {
  /** Return a renderer, or null where the browser has no WebGL 2. @param {HTMLCanvasElement} canvas */
  static create(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: false, preserveDrawingBuffer: true });
    return gl && new GLRenderer(canvas, gl);
  }

  /** @param {HTMLCanvasElement} canvas @param {WebGL2RenderingContext} gl */
  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    this.name = "webgl";
    this.emulated = isEmulated(gl);
    this.generation = 0;
    this.programs = this.start();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.programs = this.start();
    });
  }

  /** Compile the programs for the current context. After a lost context, textures of the old `generation` are made again. */
  start() {
    const { gl } = this;
    this.generation += 1;
    gl.bindVertexArray(gl.createVertexArray());
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    return {
      integer: this.program(fragment("usampler2DArray")),
      float: this.program(fragment("sampler2DArray")),
      label: this.program(LABEL),
    };
  }

  /** @param {string} source */
  program(source) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of /** @type {[number, string][]} */ ([
      [gl.VERTEX_SHADER, VERTEX],
      [gl.FRAGMENT_SHADER, source],
    ])) {
      const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost())
      throw new Error(`The shader does not link: ${gl.getProgramInfoLog(program)}`);
    /** @type {Record<string, WebGLUniformLocation | null>} */
    const uniforms = {};
    for (const name of ["place", "planes", "mask", "count", "windows", "colors"]) uniforms[name] = gl.getUniformLocation(program, name);
    return { program, uniforms };
  }

  /** @param {number[]} ground red, green and blue from 0 to 255 */
  begin(ground) {
    const { gl, canvas } = this;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(ground[0] / 255, ground[1] / 255, ground[2] / 255, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
  }

  /**
   * Draw a tile of channels into a rectangle of the screen (left, top, right, bottom in pixels).
   * @param {import("./tiles.js").Tile} tile @param {number[]} place @param {import("./state.js").Channel[]} channels
   * @param {import("./soft.js").Part[]} parts
   */
  drawPixels(tile, place, channels, parts) {
    const { gl } = this;
    const float = tile.planes instanceof Float32Array;
    const { program, uniforms } = float ? this.programs.float : this.programs.integer;
    gl.useProgram(program);
    gl.disable(gl.BLEND);
    const drawn = this.textures(tile);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, drawn.planes);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, drawn.mask);
    gl.uniform1i(uniforms.planes, 0);
    gl.uniform1i(uniforms.mask, 1);
    const shown = channels.slice(0, Math.min(MOST, tile.count));
    gl.uniform1i(uniforms.count, shown.length);
    gl.uniform3fv(uniforms.colors, new Float32Array(shown.flatMap((channel) => rgb(channel.color).map((part) => part / 255))));
    gl.enable(gl.SCISSOR_TEST);
    for (const { box, windows } of parts) {
      const x = (/** @type {number} */ at) => Math.round(place[0] + ((place[2] - place[0]) * at) / tile.width);
      const y = (/** @type {number} */ at) => Math.round(place[1] + ((place[3] - place[1]) * at) / tile.height);
      gl.scissor(x(box[0]), this.canvas.height - y(box[3]), Math.max(0, x(box[2]) - x(box[0])), Math.max(0, y(box[3]) - y(box[1])));
      gl.uniform2fv(uniforms.windows, new Float32Array(windows.slice(0, shown.length).flat()));
      this.rectangle(uniforms.place, place);
    }
    gl.disable(gl.SCISSOR_TEST);
  }

  /** @param {import("./tiles.js").Tile} tile @param {ImageData} picture @param {number[]} place */
  drawLabels(tile, picture, place) {
    const { gl } = this;
    const version = tile.drawn.version;
    const { program, uniforms } = this.programs.label;
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.activeTexture(gl.TEXTURE0);
    if (tile.drawn.generation !== this.generation)
      tile.drawn = { generation: this.generation, picture: tile.drawn.picture, version: tile.drawn.version };
    if (!tile.drawn.labels || tile.drawn.uploaded !== version) {
      tile.drawn.labels ??= this.texture(gl.TEXTURE_2D);
      gl.bindTexture(gl.TEXTURE_2D, tile.drawn.labels);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, picture.width, picture.height, 0, gl.RGBA, gl.UNSIGNED_BYTE, picture.data);
      tile.drawn.uploaded = version;
    }
    gl.bindTexture(gl.TEXTURE_2D, tile.drawn.labels);
    gl.uniform1i(uniforms.planes, 0);
    this.rectangle(uniforms.place, place);
  }

  /** @param {WebGLUniformLocation | null} uniform @param {number[]} place */
  rectangle(uniform, [left, top, right, bottom]) {
    const { gl, canvas } = this;
    const x = (/** @type {number} */ value) => (2 * value) / canvas.width - 1;
    const y = (/** @type {number} */ value) => 1 - (2 * value) / canvas.height;
    gl.uniform4f(uniform, x(left), y(top), x(right), y(bottom));
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  /** @param {import("./tiles.js").Tile} tile */
  textures(tile) {
    const { gl } = this;
    if (tile.drawn.generation === this.generation) return tile.drawn;
    const [inner, format, type] =
      tile.planes instanceof Uint8Array
        ? [gl.R8UI, gl.RED_INTEGER, gl.UNSIGNED_BYTE]
        : tile.planes instanceof Uint16Array
          ? [gl.R16UI, gl.RED_INTEGER, gl.UNSIGNED_SHORT]
          : [gl.R32F, gl.RED, gl.FLOAT];
    const planes = this.texture(gl.TEXTURE_2D_ARRAY);
    gl.texImage3D(gl.TEXTURE_2D_ARRAY, 0, inner, tile.width, tile.height, tile.count, 0, format, type, tile.planes);
    const mask = this.texture(gl.TEXTURE_2D);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.R8, tile.width, tile.height, 0, gl.RED, gl.UNSIGNED_BYTE, tile.mask);
    tile.drawn = { generation: this.generation, planes, mask };
    return tile.drawn;
  }

  /** @param {number} target */
  texture(target) {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.bindTexture(target, texture);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(target, name, gl.NEAREST);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(target, name, gl.CLAMP_TO_EDGE);
    return texture;
  }

  /** @param {import("./tiles.js").Tile} tile */
  drop(tile) {
    for (const name of ["planes", "mask", "labels"]) if (tile.drawn[name]) this.gl.deleteTexture(tile.drawn[name]);
    tile.drawn = {};
  }

  end() {}
}
