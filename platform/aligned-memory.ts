/**
 * Memory that starts on a page, as O_DIRECT demands, without native code: a WebAssembly.Memory does, an ordinary buffer
 * does not. Made once and used again: V8 reserves gigabytes of addresses (not of memory) for each.
 */

/** What O_DIRECT asks of addresses, positions and lengths. 512 would do on some disks, 4096 does on all we know. */
export const DIRECT_ALIGNMENT_BYTES = 4096;

const WASM_PAGE_BYTES = 64 * 1024;

/** Node's type definitions have the types of WebAssembly, and not its constructors. */
interface WithWebAssembly {
  readonly WebAssembly: {
    readonly Memory: new (size: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  };
}

/**
 * Zeroed memory of at least this size. Where addresses are short (a 32-bit system, a limit on them) it is ordinary
 * memory, which a direct write refuses with EINVAL and a buffered one takes.
 */
export function alignedMemory(sizeBytes: number): Uint8Array {
  const { Memory } = (globalThis as unknown as WithWebAssembly).WebAssembly;
  const pages = Math.ceil(sizeBytes / WASM_PAGE_BYTES);
  try {
    return new Uint8Array(new Memory({ initial: pages, maximum: pages }).buffer, 0, sizeBytes);
  } catch (error) {
    if (error instanceof RangeError) return new Uint8Array(sizeBytes);
    throw error;
  }
}
