/**
 * Every recovery verifies the same metadata again, at milliseconds a signature. Loaded before the agent's code, this lets
 * each signature be judged once: the same key, message and signature have the same verdict, the real function's.
 */
import { createHash } from 'node:crypto';
import { registerHooks } from 'node:module';

const PACKAGE = '@noble/ed25519';
const verdicts = new Map<string, unknown>();

/**
 * The real function, asked once for the same arguments.
 * @public imported by the module that the hook makes
 */
export function onceEach<T>(verify: (...given: readonly unknown[]) => T): (...given: readonly unknown[]) => T {
  return (...given) => {
    const hash = createHash('sha256');
    for (const value of given) hash.update(value instanceof Uint8Array ? value : JSON.stringify(value)).update('\0');
    const key = hash.digest('base64');
    if (!verdicts.has(key)) verdicts.set(key, verify(...given));
    return verdicts.get(key) as T;
  };
}

const here = import.meta.url;
registerHooks({
  resolve(specifier, context, next) {
    if (specifier !== PACKAGE || context.parentURL?.endsWith('trust/signature.ts') !== true)
      return next(specifier, context);
    const real = next(specifier, context).url;
    const source = [
      `export * from ${JSON.stringify(real)};`,
      `import { verify as real } from ${JSON.stringify(real)};`,
      `import { onceEach } from ${JSON.stringify(here)};`,
      'export const verify = onceEach(real);',
    ].join('\n');
    return { url: `data:text/javascript,${encodeURIComponent(source)}`, shortCircuit: true };
  },
});
