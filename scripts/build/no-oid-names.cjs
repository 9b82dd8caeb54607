// Names of object identifiers: node-forge's ASN.1 module wants them for pretty printing only.
const forge = require('node-forge/lib/forge.js');
forge.pki = forge.pki || {};
forge.pki.oids = forge.oids = {};
