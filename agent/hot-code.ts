/**
 * How hard V8 works at making the agent's code fast. An agent is idle for weeks and installs for minutes. Idle, it
 * interprets: bin/holdfast-agent starts Node with the optimising compilers off, which are 4 MB of resident memory with
 * what they make. For an install V8 compiles again as it does by default; it asks its flags each time it thinks of
 * compiling a function, so they may change while code runs. What was measured stands in docs/BENCHMARKS.md.
 */

/** Before work that is worth compiling for: a release to verify, an image to write. It is never taken back. */
export function compileHotCode(): void {
  // Not imported: node:v8 is 1 MB more that an idle agent has no use for.
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  for (const tier of ['opt', 'maglev', 'sparkplug']) setFlagsFromString(`--${tier}`);
}
