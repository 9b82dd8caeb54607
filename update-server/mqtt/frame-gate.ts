/**
 * Stands between the TLS socket and the broker and lets no MQTT frame through that is longer than the cap: the broker's
 * own parser would collect up to 256 MB before anybody is asked. Only the fixed header (MQTT 3.1.1 §2.2) is looked at.
 */
import { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

const LAST_WORDS_MS = 1000;

/** Where one frame ends and the next begins, over chunks cut anywhere. */
export class FrameMeter {
  readonly #capBytes: number;
  #state: 'type' | 'length' | 'body' = 'type';
  #shift = 0;
  #left = 0;

  constructor(capBytes: number) {
    this.#capBytes = capBytes;
  }

  /** False: a frame that is longer than the cap, or whose length is not one. Nothing after it may be used. */
  admit(chunk: Uint8Array): boolean {
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === 'body') {
        const skipped = Math.min(this.#left, chunk.length - at);
        this.#left -= skipped;
        at += skipped;
        if (this.#left === 0) this.#state = 'type';
        continue;
      }
      if (!this.#header(chunk[at] ?? 0)) return false;
      at += 1;
    }
    return true;
  }

  #header(byte: number): boolean {
    if (this.#state === 'type') {
      this.#state = 'length';
      this.#shift = 0;
      this.#left = 0;
      return true;
    }
    this.#left += (byte & 0x7f) * 2 ** this.#shift;
    this.#shift += 7;
    if (this.#left > this.#capBytes) return false;
    if (byte < 0x80) this.#state = this.#left === 0 ? 'type' : 'body';
    return byte < 0x80 || this.#shift < 28;
  }
}

export class FrameGate extends Duplex {
  readonly #socket: TLSSocket;

  /** `onTooLarge` is called once, before the connection ends. */
  constructor(socket: TLSSocket, capBytes: number, onTooLarge: () => void) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    const meter = new FrameMeter(capBytes);
    socket.on('data', (chunk: Buffer) => {
      if (!meter.admit(chunk)) {
        onTooLarge();
        this.destroy();
      } else if (!this.push(chunk)) {
        socket.pause();
      }
    });
    socket.on('end', () => this.push(null));
    socket.on('error', (error) => this.destroy(error));
    socket.on('close', () => this.destroy());
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, encoding, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // Not at once: the answer that says why (CONNACK) may still be on its way out.
    this.#socket.destroySoon();
    // Nor for ever: a peer that is gone takes no last bytes.
    const late = setTimeout(() => this.#socket.destroy(), LAST_WORDS_MS).unref();
    this.#socket.once('close', () => clearTimeout(late));
    done(error);
  }
}
