/**
 * Watches the length that each MQTT packet announces (MQTT 3.1.1 §2.2) before the parser gathers it: the parser itself
 * would buffer up to 256 MB. Counts only; reads no content.
 */
export class PacketGuard {
  readonly #capBytes: number;
  #bodyLeft = 0;
  #inLength = false;
  #length = 0;
  #shift = 0;

  constructor(capBytes: number) {
    this.#capBytes = capBytes;
  }

  /** False once a packet is longer than the cap, or its length is malformed: the connection must be ended. */
  allows(chunk: Uint8Array): boolean {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#bodyLeft > 0) {
        const step = Math.min(this.#bodyLeft, chunk.length - offset);
        this.#bodyLeft -= step;
        offset += step;
        continue;
      }
      const byte = chunk[offset] ?? 0;
      offset += 1;
      if (!this.#inLength) {
        this.#inLength = true;
        this.#length = 0;
        this.#shift = 0;
      } else if (!this.#takeLengthByte(byte)) {
        return false;
      }
    }
    return true;
  }

  #takeLengthByte(byte: number): boolean {
    this.#length += (byte & 0x7f) * 2 ** this.#shift;
    this.#shift += 7;
    if (this.#length > this.#capBytes || this.#shift > 28) return false;
    if ((byte & 0x80) === 0) {
      this.#inLength = false;
      this.#bodyLeft = this.#length;
    }
    return true;
  }
}
