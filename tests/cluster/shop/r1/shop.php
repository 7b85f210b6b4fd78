<?php

const RELEASE = '%RELEASE%';

function row(string $name): array
{
    [$kind, $which] = explode(':', "$name:");
    return ['release' => RELEASE] + match ($kind) {
        'product' => ['name' => "Lamp $which", 'price' => $which . '.50'],
        'category' => ['lines' => ['Lamps by name']],
        'menu' => [],
    };
}

function summary(array $product): string
{
    return isset($product['name'])
        ? "$product[name] for $product[price]"
        : '!! data of another release';
}
