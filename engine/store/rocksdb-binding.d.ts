/**
 * The part of the `rocksdb` package (npm:@nxtedition/rocksdb) that rocks-store.ts uses; the package ships no types.
 * The methods with an underscore are its private half: they skip the validation, the events and the deferral of
 * abstract-level, which cost seven times what the write itself costs.
 */
declare module 'rocksdb' {
  /** Opaque: a column family. */
  export interface ColumnHandle {
    readonly brand: 'column';
  }

  export interface ColumnOption {
    readonly column: ColumnHandle;
  }

  export interface QueryOptions extends ColumnOption {
    readonly gt?: Uint8Array;
    readonly gte?: Uint8Array;
    readonly lt?: Uint8Array;
    readonly lte?: Uint8Array;
    readonly reverse?: boolean;
    readonly keys?: boolean;
    readonly values?: boolean;
    readonly limit?: number;
    readonly highWaterMarkBytes?: number;
    readonly fillCache?: boolean;
    readonly asyncIO?: boolean;
    /** Must be given: the binding leaves them uninitialised otherwise. */
    readonly keyEncoding: 'buffer';
    readonly valueEncoding: 'buffer';
  }

  export interface ChainedBatch {
    _put(key: Uint8Array, value: Uint8Array, options: ColumnOption): void;
    _del(key: Uint8Array, options: ColumnOption): void;
    _clear(): void;
    _writeSync(options: { readonly sync: boolean }): void;
    _closeSync(): void;
  }

  export interface Iterator {
    /** `rows` is [key, value, key, value, …]; `finished` also when `limit` ended it. */
    _nextvSync(size: number): { rows: Uint8Array[]; finished: boolean };
    _closeSync(): void;
  }

  export class RocksLevel {
    /** A path opens a database; a handle attaches to one that is open in this process. */
    constructor(locationOrHandle: string | bigint, options?: object);
    readonly status: 'opening' | 'open' | 'closing' | 'closed';
    readonly handle: bigint;
    readonly sequence: number;
    readonly columns: Readonly<Record<string, ColumnHandle>>;
    open(options?: object): Promise<void>;
    close(): Promise<void>;
    getProperty(name: string): string;
    _iterator(options: QueryOptions): Iterator;
    detachResource(resource: unknown): void;
    _chainedBatch(): ChainedBatch;
    _getManySync(keys: readonly Uint8Array[], options: ColumnOption): (Uint8Array | undefined | null)[];
    /** A range delete; synchronous although it returns a promise when it is given no callback. */
    _clear(
      options: ColumnOption & { readonly gte?: Uint8Array; readonly lt?: Uint8Array },
      callback: (error: Error | null) => void,
    ): void;
  }
}
