// Package registry carries what was built through an OCI registry, so that a fleet
// builds once: an artefact is an image, in an index, that has the published folders of a
// result as layers. It is named by a [Key]: the kernel, the driver and its form.
//
// A layer is a tar of one published folder (package publish), whose index, the manifest,
// comes first. So who pulls knows of each file that follows what it must be, and how
// much there will be: what is not listed is refused, and each file's digest is compared as
// it streams by. The same folder is the same bytes: there are no times and no owners in
// it. The folders have the places in the image that they have in a share at /opt/share, so
// an artefact is also an image that builder load runs in. Beside a folder's files a layer
// has what others look for, as links to them: see [Extra].
//
// Sources: the OCI image specification 1.1 (image-spec), layers in zstd
// (application/vnd.oci.image.layer.v1.tar+zstd, RFC 8878), and the distribution
// specification 1.1, of which go-containerregistry does all that goes over the network.
package registry
