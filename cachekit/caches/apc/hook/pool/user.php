<?php

namespace Cachekit;

use function is_array;
use function is_string;
use function strlen;

/** APCu, as a pool has it. */
final class User
{
    const FUNCTIONS = ['add', 'cache_info', 'clear_cache', 'delete', 'exists', 'sma_info', 'store'];
    const BATCH = 500;
    const EXAMPLES = 5;
    const ENTRY_BYTES = 256;
    const EPOCH = 1000000000;
    const ASTRAY = 5;
    const MANY = 200000; // With so many entries free blocks are not looked at one by one.

    public static function able(): self
    {
        if ($trouble = self::trouble()) {
            throw new Failure('refused', $trouble);
        }
        return new self();
    }

    /** Why it cannot be used here; '' if it can. */
    public static function trouble(): string
    {
        if (!extension_loaded('apcu')) {
            return 'APCu is not loaded in this pool; load it, or set `segments: opcode`';
        }
        if (!ini_get('apc.enabled') || (function_exists('apcu_enabled') && !apcu_enabled())) {
            return 'APCu is off in this pool (apc.enabled=0); turn it on, or set'
                . ' `segments: opcode`';
        }
        return disabled('apcu_', self::FUNCTIONS);
    }

    public function state(): array
    {
        $info = apcu_cache_info(true);
        $memory = apcu_sma_info(true);
        $capacity = $memory['num_seg'] * $memory['seg_size'];
        return [
            'items' => $info['num_entries'],
            'size' => $capacity - $memory['avail_mem'],
            'capacity' => $capacity,
            'hits' => $info['num_hits'],
            'misses' => $info['num_misses'],
            'expunges' => $info['expunges'],
            'largest_free' => self::largestFree(),
        ];
    }

    /** The bytes of the largest value for which there is room; null if that is long to find out. */
    private static function largestFree()
    {
        if (apcu_cache_info(true)['num_entries'] > self::MANY) {
            return null;
        }
        $blocks = array_merge([], ...array_map('array_values', apcu_sma_info()['block_lists']));
        return $blocks ? max(array_column($blocks, 'size')) : 0;
    }

    public function count(array $asked): array
    {
        $selects = self::predicate($asked);
        $answer = [
            'found' => 0,
            'total' => apcu_cache_info(true)['num_entries'],
            'size' => 0,
            'examples' => [],
        ];
        $wanted = APC_ITER_KEY | APC_ITER_MEM_SIZE;
        foreach (new \APCUIterator(null, $wanted, self::BATCH) as $key => $entry) {
            if (!$selects((string) $key)) {
                continue;
            }
            $answer['size'] += $entry['mem_size'];
            if ($answer['found']++ < self::EXAMPLES) {
                $answer['examples'][] = (string) $key;
            }
        }
        return $answer;
    }

    /** Token, which group 1 of the pattern finds, number, bytes, ages of the oldest and newest. */
    public function releases(array $asked): array
    {
        $pattern = base64_decode($asked['start']);
        $counts = [];
        $wanted = APC_ITER_KEY | APC_ITER_MEM_SIZE | APC_ITER_MTIME;
        foreach (new \APCUIterator(null, $wanted, self::BATCH) as $key => $entry) {
            if (!preg_match("~^$pattern~", (string) $key, $start)) {
                continue;
            }
            $time = $entry['mtime'];
            list($token, $items, $size, $first, $last)
                = $counts[$start[1]] ?? [$start[1], 0, 0, $time, $time];
            $size += $entry['mem_size'];
            $counts[$token] = [$token, $items + 1, $size, min($first, $time), max($last, $time)];
        }
        return ['counts' => array_map(function (array $count): array {
            list($token, $items, $size, $first, $last) = $count;
            return [$token, $items, $size, self::age($first), self::age($last)];
        }, array_values($counts))];
    }

    /** Seconds since a moment; some versions of APCu count from the start of the machine. */
    private static function age(int $moment)
    {
        $start = function_exists('hrtime') ? hrtime()[0] : 0;
        $age = ($moment > self::EPOCH ? time() : $start) - $moment;
        return $age < -self::ASTRAY ? null : max(0, $age);
    }

    public function clear(): array
    {
        $before = apcu_cache_info(true);
        apcu_clear_cache();
        $after = apcu_cache_info(true);
        // A clear sets this count to zero, and what is there already has been stored since.
        $done = !$before['num_entries'] || $after['num_inserts'] < $before['num_inserts'];
        return [
            'found' => $before['num_entries'],
            'left' => $done ? 0 : $after['num_entries'],
            'since' => $done ? $after['num_entries'] : 0,
        ];
    }

    public function delete(array $asked): array
    {
        $selects = self::predicate($asked);
        $found = $removed = $left = 0;
        foreach (self::batches($selects) as $batch) {
            $found += count($batch);
            $removed += count($batch) - count(apcu_delete($batch));
        }
        foreach (self::batches($selects) as $batch) {
            $left += count($batch);
        }
        return ['found' => $found, 'removed' => $removed, 'left' => $left];
    }

    /** Keys that are selected, so many at a time; they may be deleted meanwhile. */
    private static function batches(callable $selects)
    {
        $batch = [];
        foreach (new \APCUIterator(null, APC_ITER_KEY, self::BATCH) as $key => $_) {
            if ($selects((string) $key)) {
                $batch[] = (string) $key;
            }
            if (count($batch) === self::BATCH) {
                yield $batch;
                $batch = [];
            }
        }
        yield $batch;
    }

    /** Make the function that tells whether a key is meant; without any choice all are. */
    private static function predicate(array $asked): callable
    {
        $keys = array_flip(decoded($asked['keys'] ?? []));
        $prefixes = decoded($asked['prefixes'] ?? []);
        $patterns = decoded($asked['patterns'] ?? []);
        self::check($patterns);
        $all = !$keys && !$prefixes && !$patterns;
        return function (string $key) use ($all, $keys, $prefixes, $patterns): bool {
            if ($all || isset($keys[$key])) {
                return true;
            }
            foreach ($prefixes as $prefix) {
                if (strncmp($key, $prefix, strlen($prefix)) === 0) {
                    return true;
                }
            }
            // Characters where the key has them, bytes where it is no UTF-8.
            $unicode = $patterns && preg_match('//u', $key) ? 'u' : '';
            foreach ($patterns as $pattern) {
                if (preg_match("~$pattern~$unicode", $key)) {
                    return true;
                }
            }
            return false;
        };
    }

    /** An invalid pattern would select nothing, and look like a success. */
    private static function check(array $patterns)
    {
        foreach ($patterns as $pattern) {
            if (preg_match("~$pattern~", '') === false) {
                throw new Failure('refused', 'PCRE does not take the pattern: ' . Pool::warning());
            }
        }
    }

    /**
     * Store records, and look for each. None is stored if one of them cannot be read, and no more
     * than there is room for: a full segment would silently throw out all that it has.
     */
    public function store(array $asked, array $lines): array
    {
        $expunges = apcu_cache_info(true)['expunges'];
        $records = new Records($lines, base64_decode($asked['prefix']), $asked['release']);
        if ($records->bad !== null) {
            return ['bad' => $records->bad];
        }
        return self::put($records, $asked) + [
            'found' => $records->found,
            'skipped' => $records->expired,
            'wanted' => count($records->values),
            'there' => count(apcu_exists(array_map('strval', array_keys($records->values)))),
            'expunges' => [$expunges, apcu_cache_info(true)['expunges']],
        ];
    }

    private static function put(Records $records, array $asked): array
    {
        $put = $asked['overwrite'] ? 'apcu_store' : 'apcu_add';
        $stored = $present = $room = 0;
        foreach ($records->values as $key => $value) {
            $key = (string) $key;
            $needed = $asked['force'] ? 0 : self::needed($key, $value);
            if ($needed > $room && $needed > ($room = self::room())) {
                return ['stored' => $stored, 'present' => $present, 'room' => $room];
            }
            if ($put($key, $value, $records->lifetimes[$key])) {
                $stored++;
                $room -= $needed;
            } elseif (apcu_exists($key)) {
                $present++;
            }
        }
        return ['stored' => $stored, 'present' => $present, 'room' => null];
    }

    private static function room(): int
    {
        return self::largestFree() ?? apcu_sma_info(true)['avail_mem'];
    }

    /** The bytes that an entry takes, rather too many. */
    private static function needed(string $key, $value): int
    {
        $size = is_string($value) ? strlen($value) : self::size($value);
        return self::ENTRY_BYTES + strlen($key) + $size;
    }

    private static function size($value): int
    {
        if (!is_array($value)) {
            return is_string($value) ? 32 + strlen($value) : 0;
        }
        // A table has room for a power of two, eight at least, of 36 bytes each.
        $bytes = 56 + 36 * (8 + 2 * count($value));
        foreach ($value as $key => $each) {
            $bytes += self::size($each) + (is_string($key) ? 32 + strlen($key) : 0);
        }
        return $bytes;
    }
}
