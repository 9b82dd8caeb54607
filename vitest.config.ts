/**
 * How tests run. The timeouts are guards against a hang, never assertions: they are far above what a slow machine takes.
 */
import { defineConfig } from 'vitest/config';

const MINUTE_MS = 60_000;

export default defineConfig({
  test: {
    include: ['test/{unit,conformance,sim,e2e}/**/*.test.ts'],
    // Separate processes: tests start servers, change environment variables and load native modules.
    pool: 'forks',
    testTimeout: 2 * MINUTE_MS,
    hookTimeout: 3 * MINUTE_MS,
    teardownTimeout: MINUTE_MS,
  },
});
