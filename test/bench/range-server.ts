/**
 * Files over HTTP on the loopback, whole or in ranges, as chunk stores are fetched; every byte of a body is counted.
 * Headers and requests are not, which flatters whoever asks often.
 */
import { once } from 'node:events';
import { open, stat } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

const BOUNDARY = 'holdfast-bench-range';

interface Range {
  readonly first: number;
  /** Inclusive. */
  readonly last: number;
}

export class RangeServer {
  servedBytes = 0;
  readonly #folder: string;
  readonly #server: Server;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#server = createServer((request, response) => {
      this.#answer(request.url ?? '', request.headers.range, response).catch(() => response.destroy());
    });
  }

  static async start(folder: string): Promise<RangeServer> {
    const server = new RangeServer(folder);
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #answer(url: string, range: string | undefined, response: ServerResponse): Promise<void> {
    const path = join(this.#folder, decodeURIComponent(url));
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile() !== true || !path.startsWith(this.#folder)) return void response.writeHead(404).end();
    const ranges = parseRanges(range, found.size);
    const file = await open(path, 'r');
    try {
      const parts: Buffer[] = [];
      for (const { first, last } of ranges ?? [{ first: 0, last: found.size - 1 }]) {
        const part = Buffer.alloc(last - first + 1);
        await file.read(part, 0, part.length, first);
        if (ranges !== undefined && ranges.length > 1) parts.push(partHead({ first, last }, found.size));
        parts.push(part);
      }
      if (ranges !== undefined && ranges.length > 1) parts.push(Buffer.from(`\r\n--${BOUNDARY}--\r\n`));
      this.#send(response, headersOf(ranges, found.size), ranges === undefined ? 200 : 206, Buffer.concat(parts));
    } finally {
      await file.close();
    }
  }

  #send(response: ServerResponse, headers: Record<string, string>, status: number, body: Buffer): void {
    this.servedBytes += body.length;
    response.writeHead(status, { ...headers, 'content-length': body.length, 'accept-ranges': 'bytes' }).end(body);
  }
}

/** `bytes=0-9,20-29`; undefined for the whole file. */
export function parseRanges(header: string | undefined, sizeBytes: number): readonly Range[] | undefined {
  const list = /^bytes=(\d+-\d*(?:, ?\d+-\d*)*)$/.exec(header ?? '')?.[1];
  return list?.split(',').map((one) => {
    const [first = '', last = ''] = one.trim().split('-');
    return { first: Number(first), last: Math.min(last === '' ? sizeBytes : Number(last), sizeBytes - 1) };
  });
}

function headersOf(ranges: readonly Range[] | undefined, sizeBytes: number): Record<string, string> {
  const [only] = ranges ?? [];
  if (ranges === undefined || only === undefined) return {};
  if (ranges.length === 1) return { 'content-range': `bytes ${only.first}-${only.last}/${sizeBytes}` };
  return { 'content-type': `multipart/byteranges; boundary=${BOUNDARY}` };
}

function partHead({ first, last }: Range, sizeBytes: number): Buffer {
  const head = ['', `--${BOUNDARY}`, `content-range: bytes ${first}-${last}/${sizeBytes}`, '', ''];
  return Buffer.from(head.join('\r\n'));
}
