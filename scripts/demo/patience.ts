/** Waiting for what somebody else says, with a limit, so that a run that hangs ends and says why. */

/** Asks until the answer is not undefined; undefined once `limitMs` have passed. */
export async function askUntil<T>(
  limitMs: number,
  pauseMs: number,
  ask: () => Promise<T | undefined> | T | undefined,
): Promise<T | undefined> {
  const untilMs = performance.now() + limitMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() >= untilMs) return undefined;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** Seconds since `startedMs`, to a tenth. */
export const secondsSince = (startedMs: number): number => Math.round((performance.now() - startedMs) / 100) / 10;
