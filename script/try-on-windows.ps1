# Tests holdfast.exe with each type of key that this Windows machine can create.
# It uses the emulator in holdfast.exe, so nothing is sent to another machine.
# It creates a CA and certificates and deletes them at the end. If it runs as an
# administrator, it also tests the stores of the machine.
#
#   powershell -ExecutionPolicy Bypass -File try-on-windows.ps1 -Holdfast .\holdfast.exe
param([string] $Holdfast = '.\holdfast.exe')

$ErrorActionPreference = 'Stop'
$Holdfast = (Resolve-Path $Holdfast).Path
$work = New-Item -ItemType Directory -Path (Join-Path $env:TEMP ('holdfast-' + [guid]::NewGuid()))
$made = @()
$failed = 0
$emulator = $null

function New-Leaf($location, $ca, $name, $provider, $key) {
    $arguments = @{
        Type              = 'Custom'
        Subject           = "CN=$name,O=Holdfast Trial"
        Signer            = $ca
        CertStoreLocation = "Cert:\$location\My"
        Provider          = $provider
        KeyExportPolicy   = 'NonExportable'
        KeyUsage          = 'DigitalSignature'
        HashAlgorithm     = 'SHA256'
        NotAfter          = (Get-Date).AddDays(1)
        TextExtension     = @('2.5.29.19={critical}{text}CA=false', '2.5.29.37={text}1.3.6.1.5.5.7.3.2')
    }
    New-SelfSignedCertificate @arguments @key
}

function Test-Key($name, [string[]] $reference) {
    $ErrorActionPreference = 'Continue' # otherwise PowerShell 5 stops when a program writes to standard error
    $output = & $Holdfast credential-process @session @reference 2> (Join-Path $work 'errors')
    if ($LASTEXITCODE -eq 0 -and ($output -join '' | ConvertFrom-Json).AccessKeyId) {
        Write-Output "ok      $name"
        return
    }
    $script:failed++
    Write-Output "FAILED  $name (exit code $LASTEXITCODE)"
    Get-Content (Join-Path $work 'errors') | ForEach-Object { Write-Output "        $_" }
}

try {
    & $Holdfast version
    [Environment]::OSVersion.VersionString

    $ca = New-SelfSignedCertificate -Type Custom -Subject 'CN=Holdfast Trial CA' -CertStoreLocation Cert:\CurrentUser\My `
        -KeyUsage CertSign, CRLSign -HashAlgorithm SHA256 -NotAfter (Get-Date).AddDays(2) `
        -TextExtension @('2.5.29.19={critical}{text}CA=true')
    $made += $ca
    $pem = "-----BEGIN CERTIFICATE-----`n" + [Convert]::ToBase64String($ca.RawData, 'InsertLineBreaks') + "`n-----END CERTIFICATE-----`n"
    [IO.File]::WriteAllText((Join-Path $work 'ca.pem'), $pem)

    $announcement = Join-Path $work 'announcement'
    $emulator = Start-Process $Holdfast -PassThru -NoNewWindow -RedirectStandardOutput $announcement `
        -ArgumentList 'emulator', '--listen', '127.0.0.1:0', '--trust-anchor', ('"' + (Join-Path $work 'ca.pem') + '"')
    $deadline = (Get-Date).AddSeconds(30)
    do {
        Start-Sleep -Milliseconds 200
        $lines = @(Get-Content $announcement -ErrorAction SilentlyContinue)
    } until (($lines -match '^use with').Count -gt 0 -or (Get-Date) -gt $deadline)
    $session = @('--endpoint', (($lines -match '^listening on ')[0] -replace '^listening on ', ''))
    foreach ($line in $lines -match '^\s+--') { $session += $line.Trim() -split ' ' }

    $locations = @{ CurrentUser = 'user' }
    $identity = [Security.Principal.WindowsPrincipal] [Security.Principal.WindowsIdentity]::GetCurrent()
    if ($identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
        $locations['LocalMachine'] = 'machine'
    } else {
        Write-Output 'not running as an administrator: skipping the stores of the machine'
    }
    $software = 'Microsoft Software Key Storage Provider'
    $kinds = @(
        @{ Name = 'CNG RSA-2048'; Provider = $software; Key = @{ KeyAlgorithm = 'RSA'; KeyLength = 2048 } },
        @{ Name = 'CNG RSA-4096'; Provider = $software; Key = @{ KeyAlgorithm = 'RSA'; KeyLength = 4096 } },
        @{ Name = 'CNG P-256'; Provider = $software; Key = @{ KeyAlgorithm = 'ECDSA_nistP256' } },
        @{ Name = 'CNG P-384'; Provider = $software; Key = @{ KeyAlgorithm = 'ECDSA_nistP384' } },
        @{ Name = 'CNG P-521'; Provider = $software; Key = @{ KeyAlgorithm = 'ECDSA_nistP521' } },
        @{ Name = 'CryptoAPI RSA and AES'; Provider = 'Microsoft Enhanced RSA and AES Cryptographic Provider'; Key = @{ KeySpec = 'KeyExchange'; KeyLength = 2048 } },
        @{ Name = 'CryptoAPI Enhanced'; Provider = 'Microsoft Enhanced Cryptographic Provider v1.0'; Key = @{ KeySpec = 'Signature'; KeyLength = 2048 } },
        @{ Name = 'TPM RSA-2048'; Provider = 'Microsoft Platform Crypto Provider'; Key = @{ KeyAlgorithm = 'RSA'; KeyLength = 2048 } },
        @{ Name = 'TPM P-256'; Provider = 'Microsoft Platform Crypto Provider'; Key = @{ KeyAlgorithm = 'ECDSA_nistP256' } }
    )
    foreach ($location in $locations.Keys) {
        foreach ($kind in $kinds) {
            $label = "$location $($kind.Name)"
            $name = 'holdfast-' + [guid]::NewGuid()
            try {
                $leaf = New-Leaf $location $ca $name $kind.Provider $kind.Key
            } catch {
                Write-Output "--      $label cannot be created here: $($_.Exception.Message.Trim())"
                continue
            }
            $made += $leaf
            Test-Key "$label by subject" '--certificate', "winstore:location=$($locations[$location]);subject=CN=$name"
            Test-Key "$label by thumbprint" '--certificate', "winstore:location=$($locations[$location]);sha1=$($leaf.Thumbprint)"
            Test-Key "$label by selector" '--system-store-name', "$location\MY", '--cert-selector', `
                "Key=x509Subject,Value=CN=$name Key=x509Serial,Value=$($leaf.SerialNumber)"
        }
    }
} finally {
    if ($emulator) { Stop-Process -Id $emulator.Id -ErrorAction SilentlyContinue }
    foreach ($cert in $made) { Remove-Item $cert.PSPath -DeleteKey -ErrorAction SilentlyContinue }
    Remove-Item -Recurse $work -ErrorAction SilentlyContinue
}
Write-Output "$failed failed"
exit [Math]::Min($failed, 1)
