<?php

namespace Cachekit;

// One program of two halves, written for PHP 7.0 and later. The node's half is piped to `php -n`,
// after a line with what it is to do. It writes the pool's half to a file that only lives as long
// as the run, and has FPM's pools execute it over FastCGI: theirs is the memory to be cleared,
// which PHP on the command line does not see. What both halves need is in this part.

const MARK = 'CACHEKIT1 ';

/**
 * Told in the place of an answer. Its kinds: unreachable, refused, unexpected; among themselves the
 * classes say unseen of a directory that does not do for a pool, while another one may.
 */
final class Failure extends \Exception
{
    public $kind;

    public function __construct(string $kind, string $message)
    {
        parent::__construct($message);
        $this->kind = $kind;
    }
}

function json($value): string
{
    $substitute = defined('JSON_INVALID_UTF8_SUBSTITUTE') ? JSON_INVALID_UTF8_SUBSTITUTE : 0;
    $lenient = $substitute | JSON_PARTIAL_OUTPUT_ON_ERROR;
    return json_encode($value, $lenient | JSON_UNESCAPED_SLASHES);
}

/** The files of a tree, links not followed; what cannot be read is left out. */
function filesBelow(string $directory): array
{
    $tree = new \RecursiveIteratorIterator(
        new \RecursiveDirectoryIterator($directory, \FilesystemIterator::SKIP_DOTS),
        \RecursiveIteratorIterator::LEAVES_ONLY,
        \RecursiveIteratorIterator::CATCH_GET_CHILD
    );
    return array_map('strval', array_keys(iterator_to_array($tree)));
}
