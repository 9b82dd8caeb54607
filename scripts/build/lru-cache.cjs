// Topic aliases belong to MQTT 5; the agent speaks 3.1.1. Reaching this is a bug.
exports.LRUCache = class LRUCache {
  constructor() {
    throw new Error('not part of the shipped agent');
  }
};
