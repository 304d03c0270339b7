/**
 * Makes protobufjs read 64-bit fields as numbers, not Long objects: everything that mraft counts stays below 2^53.
 * Imported for its effect, before the generated module: that one takes its defaults from what is set here when it loads.
 */

import protobuf from 'protobufjs/minimal.js';

(protobuf.util as { Long: unknown }).Long = undefined;
protobuf.configure();
