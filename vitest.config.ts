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
    // As many as there are cores; vitest itself leaves one of them idle.
    maxWorkers: availableParallelism(),
    // Hundreds of tests start one of the commands from its source: each file is stripped of its types and compiled once.
    env: { NODE_COMPILE_CACHE: join(import.meta.dirname, 'build/compile-cache') },
    testTimeout: 2 * MINUTE_MS,
    hookTimeout: 3 * MINUTE_MS,
    teardownTimeout: MINUTE_MS,
  },
});
