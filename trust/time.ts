/** Skeleton; see exports. */
export interface TrustTime {
  /** Unix seconds: the latest signed time this device has accepted. */
  readonly floorUnixS: number;
  /** Unix seconds of a synchronised clock, or undefined. */
  readonly synchronisedUnixS: number | undefined;
}
export interface JudgedTime {
  readonly nowUnixS: number;
  readonly synchronised: boolean;
}
export function judgeTime(_time: TrustTime): JudgedTime {
  throw new Error('not written yet');
}
/** Unix seconds of `YYYY-MM-DDTHH:MM:SSZ`; undefined for anything else. */
export function decodeTufDate(_text: string): number | undefined {
  throw new Error('not written yet');
}
export function encodeTufDate(_unixS: number): string {
  throw new Error('not written yet');
}
/** The new time floor: never lower, never past the accepted root's expiry. */
export function raiseTimeFloor(_facts: {
  floorUnixS: number;
  /** A signed time: build date of a confirmed release, or a witness time. */
  signedUnixS: number;
  rootExpiresUnixS: number;
}): number {
  throw new Error('not written yet');
}
