<?php

namespace Cachekit;

/** One FastCGI request over a connection of its own. */
final class Request
{
    const BEGIN = 1, END = 3, PARAMS = 4, STDIN = 5, STDOUT = 6, STDERR = 7;
    const CONNECT_SECONDS = 5.0;
    const PIECE = 65528; // The most that a record holds, in whole units of eight bytes.
    const ADVICE = [
        2 => '; correct `sockets`, or start php-fpm',
        11 => '; all its workers are busy',
        13 => '; connect as a member of its group (listen.group) or as root',
        111 => '; is php-fpm running there?',
    ];

    private $stream;
    private $end;
    private $out = [self::STDOUT => '', self::STDERR => ''];

    private function __construct(string $address, float $end)
    {
        $this->end = $end;
        $uri = $address[0] === '/' ? "unix://$address" : "tcp://$address";
        $seconds = max(0.01, min(self::CONNECT_SECONDS, $end - microtime(true)));
        $this->stream = @stream_socket_client($uri, $number, $cause, $seconds);
        if (!$this->stream) {
            $advice = self::ADVICE[$number] ?? '';
            throw new Failure('unreachable', ($cause ?: 'no answer') . $advice);
        }
        stream_set_blocking($this->stream, false);
    }

    /** Have a script answered; never with PHP_VALUE, which would stick to the worker. */
    public static function send(string $address, array $params, string $body, float $end): array
    {
        $request = new self($address, $end);
        try {
            $request->write($params, $body);
            $whole = $request->read();
        } finally {
            fclose($request->stream);
        }
        if (!$whole) {
            throw new Failure('unreachable', 'the connection was closed before the answer: the'
                . ' worker was killed (request_terminate_timeout?), or listen.allowed_clients'
                . ' excludes this machine');
        }
        return self::parsed($request->out);
    }

    private function write(array $params, string $body)
    {
        $pairs = '';
        foreach ($params + ['CONTENT_LENGTH' => (string) strlen($body)] as $name => $value) {
            $lengths = pack('NN', strlen($name) | 0x80000000, strlen($value) | 0x80000000);
            $pairs .= $lengths . $name . $value;
        }
        $head = self::record(self::BEGIN, pack('nCx5', 1, 0));
        $head .= self::record(self::PARAMS, $pairs) . self::record(self::PARAMS, '');
        $is_open = $this->put($head);
        for ($at = 0; $is_open && $at < strlen($body); $at += self::PIECE) {
            $is_open = $this->put(self::record(self::STDIN, substr($body, $at, self::PIECE)));
        }
        $is_open && $this->put(self::record(self::STDIN, ''));
    }

    private static function record(int $type, string $content): string
    {
        return pack('CCnnxx', 1, $type, 1, strlen($content)) . $content;
    }

    /** Say whether it is taken: FPM may answer with an error before it has read everything. */
    private function put(string $bytes): bool
    {
        while ($bytes !== '') {
            $this->await([], [$this->stream]);
            $written = @fwrite($this->stream, $bytes);
            if ($written === false || ($written === 0 && feof($this->stream))) {
                return false;
            }
            $bytes = (string) substr($bytes, $written);
        }
        return true;
    }

    private function read(): bool
    {
        $buffer = '';
        do {
            $this->await([$this->stream], []);
            $bytes = (string) @fread($this->stream, 1 << 16);
            if ($bytes === '' && feof($this->stream)) {
                return false;
            }
            $buffer .= $bytes;
        } while (!$this->take($buffer));
        return true;
    }

    private function await(array $reading, array $writing)
    {
        $none = [];
        $left = max(0.0, $this->end - microtime(true));
        $microseconds = (int) (fmod($left, 1.0) * 1e6);
        if (@stream_select($reading, $writing, $none, (int) $left, $microseconds) === 0) {
            throw new Failure('unreachable', 'no answer in time: all workers of the pool are busy'
                . ' or stuck; raise pm.max_children or the deadline of the step');
        }
    }

    /** Take whole records off the buffer; say whether the last one of the answer was there. */
    private function take(string &$buffer): bool
    {
        for ($at = 0; strlen($buffer) - $at >= 8; $at += $size) {
            $head = unpack('Cversion/Ctype/nid/nlength/Cpadding', substr($buffer, $at, 7));
            if ($head['version'] !== 1) {
                throw new Failure('unexpected', 'what listens there does not speak FastCGI');
            }
            $size = 8 + $head['length'] + $head['padding'];
            if (strlen($buffer) - $at < $size) {
                break;
            }
            if ($head['type'] === self::END) {
                return true;
            }
            if (isset($this->out[$head['type']])) {
                $this->out[$head['type']] .= substr($buffer, $at + 8, $head['length']);
            }
        }
        $buffer = (string) substr($buffer, $at);
        return false;
    }

    private static function parsed(array $out): array
    {
        $parts = preg_split('/\r?\n\r?\n/', $out[self::STDOUT], 2);
        $has_status = preg_match('/^Status: (\d{3})/mi', $parts[0], $match);
        return [
            'status' => $has_status ? (int) $match[1] : 200,
            'body' => $parts[1] ?? '',
            'stderr' => trim($out[self::STDERR]),
        ];
    }
}
