/** The other two commands, as a preflight starts them: with the Node that runs here. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EXIT, Fault } from '../../platform/fault.ts';

/** From the bundle the ones beside it; from the sources those that were built. */
const DIST = import.meta.url.endsWith('.ts') ? '../../dist/' : './';

/** Path of a bundle. Fault `program-missing`. */
export function bundleOf(name: 'holdfast-agent' | 'holdfast-server'): string {
  const path = fileURLToPath(new URL(`${DIST}${name}.mjs`, import.meta.url));
  if (existsSync(path)) return path;
  throw new Fault({
    code: 'program-missing',
    what: `a preflight starts ${name}, which is not there`,
    where: path,
    cure: 'Run `npm run build` in the folder of Holdfast; the three commands are used from one dist folder.',
    exitStatus: EXIT.environment,
  });
}
