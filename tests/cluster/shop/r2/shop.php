<?php

const RELEASE = '%RELEASE%';

function row(string $name): array
{
    [$kind, $which] = explode(':', "$name:");
    return ['release' => RELEASE] + match ($kind) {
        'product' => [
            'title' => "Lamp $which",
            'price' => ['amount' => 100 * (int) $which + 50, 'currency' => 'EUR'],
        ],
        'category' => ['lines' => ['Lamps by brightness']],
        'menu' => [],
    };
}

function summary(array $product): string
{
    return isset($product['title'])
        ? sprintf('%s, %.2f %s', $product['title'], $product['price']['amount'] / 100, 'EUR')
        : '!! data of another release';
}
