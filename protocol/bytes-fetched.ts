/** Reads what a device says at the end of an update: `fetched 1234 of 5678 bytes`. */

export interface BytesFetched {
  readonly fetched: number;
  /** Of all images of the release. */
  readonly images: number;
}

const SAID = /\bfetched (\d+) of (\d+) bytes\b/;

/** Of the first text that says it; undefined when none does. */
export function bytesFetched(texts: readonly string[]): BytesFetched | undefined {
  for (const text of texts) {
    const [, fetched, images] = SAID.exec(text) ?? [];
    if (fetched !== undefined) return { fetched: Number(fetched), images: Number(images) };
  }
  return undefined;
}
