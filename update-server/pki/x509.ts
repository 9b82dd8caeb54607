/** The one door to @peculiar/x509: it does not load before the Reflect polyfill stands. */
import 'reflect-metadata';

export * as x509 from '@peculiar/x509';
