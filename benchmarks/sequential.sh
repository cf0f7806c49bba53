# What a user would write with buildah: each platform of each image, then each registry, in turn.
#   sequential.sh VERSION      PROJECT, IMAGES, ARCHITECTURES, BUILDAH and REGISTRIES say with what
version=$1
cd "$PROJECT"
for image in $IMAGES; do
    members=()
    for architecture in $ARCHITECTURES; do
        member=localhost/$image-$architecture:latest
        "$BUILDAH" build --quiet --layers --isolation chroot --network host \
            --platform "linux/$architecture" --timestamp 946684800 \
            --build-context "base=docker-image://localhost/base-$architecture:latest" \
            --file "$image/Containerfile" --tag "$member" "$image"
        members+=("$member")
    done
    "$BUILDAH" manifest create "localhost/$image:$version" "${members[@]}"
    for registry in $REGISTRIES; do
        "$BUILDAH" manifest push --quiet --all --tls-verify=false \
            "localhost/$image:$version" "docker://$registry/bench/$image:$version"
    done
done
