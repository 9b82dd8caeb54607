/**
 * A QR code as a picture (SVG) and as text for a terminal. Error correction M: a scratched label still reads. The quiet
 * zone is the four modules of the standard (ISO/IEC 18004), because labels are cut close.
 */
import { encode } from 'uqr';

const QUIET_MODULES = 4;
const CAPTION_MODULES = 5;

export interface QrCode {
  /** Width and height in modules, quiet zone included. */
  readonly size: number;
  /** Row by row; true is dark. */
  readonly dark: readonly (readonly boolean[])[];
}

export function qrCode(text: string): QrCode {
  const { size, data } = encode(text, { ecc: 'M', border: QUIET_MODULES });
  return { size, dark: data };
}

/** One `M x y h n v1 h-n z` for each run of dark modules: no seams between neighbours, however it is scaled. */
function runs({ dark }: QrCode): string {
  const parts: string[] = [];
  for (const [y, row] of dark.entries()) {
    let start = -1;
    for (let x = 0; x <= row.length; x += 1) {
      if (row[x] === true && start < 0) start = x;
      if (row[x] === true || start < 0) continue;
      parts.push(`M${start} ${y}h${x - start}v1h${start - x}z`);
      start = -1;
    }
  }
  return parts.join('');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Black on white, `moduleMm` millimetres a module, the caption beneath. */
export function qrSvg(code: QrCode, caption: string, moduleMm = 0.5): string {
  const [width, height] = [code.size, code.size + CAPTION_MODULES];
  // Whatever is long becomes narrow instead of being cut.
  const fit = caption.length > 14 ? ` textLength="${width - 2 * QUIET_MODULES}" lengthAdjust="spacingAndGlyphs"` : '';
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width * moduleMm}mm" height="${height * moduleMm}mm" viewBox="0 0 ${width} ${height}">
<rect width="${width}" height="${height}" fill="#fff"/>
<path fill="#000" shape-rendering="crispEdges" d="${runs(code)}"/>
<text x="${width / 2}" y="${code.size + 1.5}" font-family="sans-serif" font-size="4" text-anchor="middle"${fit}>${escaped(caption)}</text>
</svg>
`;
}

/** Two rows a line. Light modules are drawn, so that it is the right way round on a dark terminal; cameras read both. */
export function qrText({ dark }: QrCode): string {
  const lines: string[] = [];
  for (let y = 0; y < dark.length; y += 2) {
    const [upper, lower] = [dark[y] ?? [], dark[y + 1]];
    lines.push(upper.map((above, x) => ' ▄▀█'[(above ? 0 : 2) + ((lower?.[x] ?? true) ? 0 : 1)]).join(''));
  }
  return lines.join('\n');
}
