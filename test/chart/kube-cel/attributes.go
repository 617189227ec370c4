package main

import (
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	kjson "sigs.k8s.io/json"
)

var types = runtime.NewScheme()

func init() {
	utilruntime.Must(admissionregistrationv1.AddToScheme(types))
	utilruntime.Must(corev1.AddToScheme(types))
	utilruntime.Must(appsv1.AddToScheme(types))
	utilruntime.Must(batchv1.AddToScheme(types))
}

// attributesOf gives a request the form in which the admission chain passes it to policies and webhooks: with objects of
// the kind's own type, in which absent fields are what Go makes of them.
func attributesOf(request admissionv1.AdmissionRequest, asUnstructured bool) (*admission.VersionedAttributes, error) {
	kind := schema.GroupVersionKind(request.Kind)
	object, err := decode(request.Object.Raw, kind, asUnstructured)
	if err != nil {
		return nil, fmt.Errorf("object: %w", err)
	}
	oldObject, err := decode(request.OldObject.Raw, kind, asUnstructured)
	if err != nil {
		return nil, fmt.Errorf("oldObject: %w", err)
	}
	record := admission.NewAttributesRecord(object, oldObject, kind, request.Namespace, request.Name,
		schema.GroupVersionResource(request.Resource), request.SubResource, admission.Operation(request.Operation), nil, false,
		&user.DefaultInfo{Name: request.UserInfo.Username, UID: request.UserInfo.UID, Groups: request.UserInfo.Groups})
	versioned := &admission.VersionedAttributes{Attributes: record, VersionedKind: kind}
	if object != nil {
		versioned.VersionedObject.Set(object)
	}
	if oldObject != nil {
		versioned.VersionedOldObject.Set(oldObject)
	}
	return versioned, nil
}

func decode(raw []byte, kind schema.GroupVersionKind, asUnstructured bool) (runtime.Object, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	object, err := types.New(kind)
	if err != nil {
		return nil, err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, object); err != nil {
		return nil, err
	}
	object.GetObjectKind().SetGroupVersionKind(kind)
	if !asUnstructured {
		return object, nil
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	return &unstructured.Unstructured{Object: fields}, nil
}
