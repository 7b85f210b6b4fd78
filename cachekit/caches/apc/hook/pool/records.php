<?php

namespace Cachekit;

/** Prime records, read from JSON lines; what is wrong with one is for the sender to say. */
final class Records
{
    const FIELDS = ['key', 'value', 'value_base64', 'ttl', 'expires_at', 'flags'];
    const FOR_LONG = 1 << 31;

    /** Of each its key, value and lifetime in seconds, where 0 is for ever. */
    public $all = [];
    /** How many were over already. */
    public $expired = 0;
    /** The first line that is no record, counted from 0. */
    public $bad = null;

    private $prefix;
    private $fields;

    public function __construct(string $lines, string $prefix)
    {
        $this->prefix = $prefix;
        $this->fields = array_flip(self::FIELDS);
        foreach (explode("\n", $lines) as $number => $line) {
            if (!$this->takes(json_decode($line, true)) && trim($line) !== '') {
                $this->bad = $number;
                return;
            }
        }
    }

    private function takes($read): bool
    {
        if (!is_array($read) || array_diff_key($read, $this->fields)) {
            return false;
        }
        $key = $read['key'] ?? null;
        $is_key = is_string($key) && $key !== '';
        if (!$is_key || strncmp($key, $this->prefix, strlen($this->prefix)) !== 0) {
            return false;
        }
        if (array_key_exists('value', $read) === isset($read['value_base64'])) {
            return false;
        }
        $encoded = $read['value_base64'] ?? null;
        $value = $encoded === null ? $read['value'] : base64_decode((string) $encoded, true);
        if ($encoded !== null && $value === false) {
            return false;
        }
        return $this->keep($key, $value, $read['ttl'] ?? null, $read['expires_at'] ?? null);
    }

    private function keep(string $key, $value, $ttl, $expires_at): bool
    {
        $given = $ttl ?? $expires_at ?? 0;
        $is_number = is_int($given) || is_float($given);
        if (!$is_number || $given < 0 || ($ttl !== null && $expires_at !== null)) {
            return false;
        }
        $seconds = $expires_at === null ? $ttl : $expires_at - microtime(true);
        if ($seconds !== null && $seconds <= 0) {
            $this->expired++;
        } else {
            $this->all[] = [$key, $value, (int) ceil(min(self::FOR_LONG, $seconds ?? 0))];
        }
        return true;
    }
}
