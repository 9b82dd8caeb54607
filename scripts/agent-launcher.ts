/** How the agent is started. Whoever starts it in another way, to measure or to imitate it, gives Node the same flags. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The flags that bin/holdfast-agent gives Node. Throws when its last line is no longer the one that starts it. */
export function agentNodeFlags(projectRoot: string): string[] {
  const launcher = readFileSync(join(projectRoot, 'bin/holdfast-agent'), 'utf8');
  const flags = /^exec "\$node" (?<flags>--.*?) "\$bundle"/m.exec(launcher)?.groups?.flags;
  if (flags === undefined) throw new Error('bin/holdfast-agent: no line starts Node with flags and the bundle');
  return flags.split(' ');
}

/** What the launcher adds to the environment. */
export const AGENT_ENVIRONMENT = { MALLOC_ARENA_MAX: '1' } as const;
