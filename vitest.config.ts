/**
 * How tests run. The timeouts are guards against a hang, never assertions: they are far above what a slow machine takes.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const MINUTE_MS = 60_000;

export default defineConfig({
  test: {
    include: ['test/{unit,conformance,sim,e2e}/**/*.test.ts'],
    // Separate processes: tests start servers, change environment variables and load native modules.
    pool: 'forks',
    // One more than there are cores: tests wait for programs, disks and timers about as long as they compute.
    maxWorkers: availableParallelism() + 1,
    // Hundreds of tests start one of the commands from its source: each file is stripped of its types and compiled once.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, 'build/compile-cache') },
    testTimeout: 5 * MINUTE_MS,
    hookTimeout: 5 * MINUTE_MS,
    teardownTimeout: MINUTE_MS,
  },
});
